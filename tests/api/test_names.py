"""Codes in URLs, bodies and files: trimmed, in one form, with slashes; numbers and times of queries."""

from __future__ import annotations

from typing import Any

import pytest

from ordino.api.server import load_stages
from ordino.flows.versions import flow_plans


@pytest.fixture(scope="module")
def plans() -> Any:
    load_stages()
    return flow_plans()
