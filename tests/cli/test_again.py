"""A task of the worker that fails is begun again; the others go on."""

from __future__ import annotations

import asyncio

import pytest

from ordino.cli.running import again


async def test_a_task_that_fails_is_begun_again_until_told_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = asyncio.Event()
    begun = 0

    async def task() -> None:
        nonlocal begun
        begun += 1
        if begun < 3:
            raise RuntimeError("not today")
        stop.set()

    await asyncio.wait_for(again("a task", task, stop), 60)
    assert begun == 3


async def test_a_task_that_waits_for_its_next_turn_is_told_to_stop() -> None:
    stop, failed = asyncio.Event(), asyncio.Event()

    async def task() -> None:
        failed.set()
        raise RuntimeError("never")

    running = asyncio.create_task(again("a task", task, stop))
    await failed.wait()
    stop.set()
    await asyncio.wait_for(running, 60)
