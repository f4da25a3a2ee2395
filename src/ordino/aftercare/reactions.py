"""What aftercare does about what happened."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ordino.aftercare import message as messages
from ordino.aftercare import send, survey
from ordino.aftercare.model import Template
from ordino.core.database import Tx
from ordino.core.events import declare
from ordino.core.reactions import Task, registry

declare(
    return_authorized="Units may come back.",
    return_cancelled="Units of a return were cancelled; they will not come back.",
    return_received="Units came back.",
    parcel_received_back="Units of a parcel that came back to the sender were received.",
    units_sent_again="Units that came back to the sender are sourced again.",
    survey_asked="The customer was asked how it went.",
    survey_answered="The customer answered.",
)

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
