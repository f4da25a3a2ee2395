"""What aftercare does about what happened."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ordino.aftercare import message as messages
from ordino.aftercare import send, survey
from ordino.aftercare.model import Template
from ordino.core.database import Tx
from ordino.core.reactions import Task, registry

registry.effect(send.KIND, send.effect)


@registry.reaction("message", options=("template",))
async def message(tx: Tx, tasks: Sequence[Task], at: datetime) -> None:
    """Tell the customer, with the words of the flow's option ``template``."""
    facts = [
        messages.Fact(task.subject_id, task.event_id, Template(task.data["template"]), task.data) for task in tasks
    ]
    await messages.write(tx, facts, at=at)


@registry.reaction("ask_survey")
async def ask_survey(tx: Tx, tasks: Sequence[Task], at: datetime) -> None:
    """Ask how it was; an order with several parcels is asked once."""
    await survey.ask(tx, [task.subject_id for task in tasks], at=at)
