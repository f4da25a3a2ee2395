"""Messages, returns and surveys over HTTP."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import Struct

from ordino.aftercare import message, returns, survey
from ordino.aftercare.model import (
    Answered,
    Authorized,
    Message,
    NewReturn,
    Received,
    ReturnArrival,
    ReturnCancellation,
    ReturnCancelled,
    ReturnReceipt,
    ReturnRefused,
    SurveyAnswer,
    SurveyForm,
    SurveyRefused,
    SurveyView,
    WantedCancellation,
    WantedReturn,
)
from ordino.aftercare.received_back.api import routes as parcel_routes
from ordino.aftercare.refunds_api import refund_routes
from ordino.aftercare.returns.read import Returns
from ordino.aftercare.scopes import BY_RECEIPT
from ordino.core.database import Database
from ordino.core.permissions import Permission
from ordino.orders.scopes import BY_ORDER
from ordino.web.answers import command, command_one
from ordino.web.bodies import Body, decode
from ordino.web.described import described
from ordino.web.operations import NOT_FOUND, Operation, refusals
from ordino.web.routes import get, post

RETURNS = Body("returns", NewReturn)
RECEIPTS = Body("return_receipts", ReturnReceipt)
CANCELLATIONS = Body("return_cancellations", ReturnCancellation)
ANSWERS = Body("survey_answers", SurveyAnswer)
WANTED = msgspec.json.Decoder(WantedReturn)
ARRIVAL = msgspec.json.Decoder(ReturnArrival)
WANTED_CANCELLATION = msgspec.json.Decoder(WantedCancellation)
FORM = msgspec.json.Decoder(SurveyForm)
REFUSED = {
    "repeated": 409,
    "unknown": 404,
    "unknown_order": 404,
    "too_late": 409,
    "too_many": 409,
    "closed": 409,
    "kit": 409,
    "not_asked": 409,
    "answered_before": 409,
}


class Messages(Struct, frozen=True):
    """Oldest first."""

    messages: list[Message]


@get(
    "/v1/orders/{order_id:uuid}/messages",
    operation=Operation(
        name="orders.messages", permission=Permission.ORDERS_READ, by=BY_ORDER, personal=True, refusals=NOT_FOUND
    ),
    summary="Messages to the customer",
    tags=["aftercare"],
)
async def get_messages(database: NamedDependency[Database], order_id: FromPath[UUID]) -> Messages:
    """Oldest first. A message without `sent_at` waits in the outbox."""
    return Messages(await database.read(lambda tx: message.messages(tx, order_id)))


@get(
    "/v1/orders/{order_id:uuid}/returns",
    operation=Operation(name="returns.of_order", permission=Permission.ORDERS_READ, by=BY_ORDER, refusals=NOT_FOUND),
    summary="An order's returns",
    tags=["aftercare"],
)
async def get_returns(database: NamedDependency[Database], order_id: FromPath[UUID]) -> Returns:
    """With what was authorized, where it goes, and what became of it; of kits, how many of which components are back."""
    return await database.read(lambda tx: returns.returns_of(tx, order_id))


@post(
    "/v1/orders/{order_id:uuid}/returns",
    operation=Operation(
        name="returns.authorize",
        permission=Permission.RETURNS_WRITE,
        by=BY_ORDER,
        refusals=refusals(ReturnRefused, REFUSED),
    ),
    summary="Authorize a return",
    tags=["aftercare"],
    status_code=201,
    operation_class=described(WantedReturn, Authorized),
)
async def post_return(
    request: Request[Any, Any, Any], database: NamedDependency[Database], order_id: FromPath[UUID]
) -> Response[bytes]:
    """Delivered units may come back, within the seller's return window: each line to where its units were shipped from, or all to
    `location`. A line may name a `component` of its kits.
    """
    wanted = decode(await request.body(), WANTED)
    item = NewReturn(order_id=order_id, lines=wanted.lines, location=wanted.location)
    return await command_one(request, database, item, returns.authorize, ReturnRefused, status=201, statuses=REFUSED)


@post(
    "/v1/returns",
    operation=Operation(
        name="returns.authorize_many",
        permission=Permission.RETURNS_WRITE,
        by=BY_ORDER,
        items=True,
        refusals=refusals(ReturnRefused, REFUSED),
    ),
    summary="Authorize many returns",
    tags=["aftercare"],
    status_code=201,
    operation_class=described(RETURNS, Authorized | ReturnRefused),
)
async def post_returns(request: Request[Any, Any, Any], database: NamedDependency[Database]) -> Response[bytes]:
    """One return or a list, each with its order_id."""
    return await command(request, database, RETURNS, returns.authorize, ReturnRefused, status=201, statuses=REFUSED)


@post(
    "/v1/orders/{order_id:uuid}/returns/{return_id:uuid}/receipts",
    operation=Operation(
        name="returns.receive",
        permission=Permission.RETURNS_WRITE,
        by=BY_RECEIPT,
        items=True,
        refusals=refusals(ReturnRefused, REFUSED),
    ),
    summary="Receive units of a return",
    tags=["aftercare"],
    status_code=201,
    operation_class=described(ReturnArrival, Received),
)
async def post_receipt(
    request: Request[Any, Any, Any],
    database: NamedDependency[Database],
    order_id: FromPath[UUID],
    return_id: FromPath[UUID],
) -> Response[bytes]:
    """Restocked units are in stock at once; the refund follows. `location` is where they arrived, if that is not where they were to
    go. A line may name a `component` of its kits.
    """
    said = decode(await request.body(), ARRIVAL)
    item = ReturnReceipt(order_id=order_id, return_id=return_id, lines=said.lines, location=said.location)
    return await command_one(request, database, item, returns.receive, ReturnRefused, status=201, statuses=REFUSED)


@post(
    "/v1/return_receipts",
    operation=Operation(
        name="returns.receive_many",
        permission=Permission.RETURNS_WRITE,
        by=BY_RECEIPT,
        items=True,
        refusals=refusals(ReturnRefused, REFUSED),
    ),
    summary="Receive units of many returns",
    tags=["aftercare"],
    status_code=201,
    operation_class=described(RECEIPTS, Received | ReturnRefused),
)
async def post_receipts(request: Request[Any, Any, Any], database: NamedDependency[Database]) -> Response[bytes]:
    """One receipt or a list, each with its order_id and return_id."""
    return await command(request, database, RECEIPTS, returns.receive, ReturnRefused, status=201, statuses=REFUSED)


@post(
    "/v1/orders/{order_id:uuid}/returns/{return_id:uuid}/cancellation",
    operation=Operation(
        name="returns.cancel",
        permission=Permission.RETURNS_WRITE,
        by=BY_ORDER,
        refusals=refusals(ReturnRefused, REFUSED),
    ),
    summary="Cancel a return, or part of it",
    tags=["aftercare"],
    status_code=200,
    operation_class=described(WantedCancellation, ReturnCancelled),
)
async def post_return_cancellation(
    request: Request[Any, Any, Any],
    database: NamedDependency[Database],
    order_id: FromPath[UUID],
    return_id: FromPath[UUID],
) -> Response[bytes]:
    """Units of `lines`, or with `"all": true` everything that is still to come. What was received stays received; what is cancelled
    may be authorized again.
    """
    said = decode(await request.body() or b"{}", WANTED_CANCELLATION)
    item = ReturnCancellation(
        order_id=order_id, return_id=return_id, lines=said.lines, all=said.all, reason=said.reason, note=said.note
    )
    return await command_one(request, database, item, returns.cancel, ReturnRefused, statuses=REFUSED)


@post(
    "/v1/return_cancellations",
    operation=Operation(
        name="returns.cancel_many",
        permission=Permission.RETURNS_WRITE,
        by=BY_ORDER,
        items=True,
        refusals=refusals(ReturnRefused, REFUSED),
    ),
    summary="Cancel many returns",
    tags=["aftercare"],
    status_code=200,
    operation_class=described(CANCELLATIONS, ReturnCancelled | ReturnRefused),
)
async def post_return_cancellations(
    request: Request[Any, Any, Any], database: NamedDependency[Database]
) -> Response[bytes]:
    """One cancellation or a list, each with its order_id and return_id, and `lines` or `"all": true`."""
    return await command(request, database, CANCELLATIONS, returns.cancel, ReturnRefused, statuses=REFUSED)


@get(
    "/v1/orders/{order_id:uuid}/survey",
    operation=Operation(
        name="surveys.get", permission=Permission.ORDERS_READ, by=BY_ORDER, personal=True, refusals=NOT_FOUND
    ),
    summary="The survey of an order",
    tags=["aftercare"],
)
async def get_survey(database: NamedDependency[Database], order_id: FromPath[UUID]) -> SurveyView:
    """The questions, and the answers once there are any."""
    return await database.read(lambda tx: survey.survey(tx, order_id))


@post(
    "/v1/orders/{order_id:uuid}/survey/answers",
    operation=Operation(
        name="surveys.answer",
        permission=Permission.ORDERS_WRITE,
        by=BY_ORDER,
        refusals=refusals(SurveyRefused, REFUSED),
    ),
    summary="Answer the survey",
    tags=["aftercare"],
    status_code=201,
    operation_class=described(SurveyForm, Answered),
)
async def post_answer(
    request: Request[Any, Any, Any], database: NamedDependency[Database], order_id: FromPath[UUID]
) -> Response[bytes]:
    """Ratings from 1 to 5 and a comment. The first answer stands."""
    form = decode(await request.body(), FORM)
    item = SurveyAnswer(order_id=order_id, answers=form.answers, comment=form.comment)
    return await command_one(request, database, item, survey.answer, SurveyRefused, status=201, statuses=REFUSED)


@post(
    "/v1/survey_answers",
    operation=Operation(
        name="surveys.answer_many",
        permission=Permission.ORDERS_WRITE,
        by=BY_ORDER,
        items=True,
        refusals=refusals(SurveyRefused, REFUSED),
    ),
    summary="Survey answers of many orders",
    tags=["aftercare"],
    status_code=201,
    operation_class=described(ANSWERS, Answered | SurveyRefused),
)
async def post_answers(request: Request[Any, Any, Any], database: NamedDependency[Database]) -> Response[bytes]:
    """One answer or a list, each with its order_id."""
    return await command(request, database, ANSWERS, survey.answer, SurveyRefused, status=201, statuses=REFUSED)


routes = [
    get_messages,
    get_returns,
    post_return,
    post_returns,
    post_receipt,
    post_receipts,
    post_return_cancellation,
    post_return_cancellations,
    get_survey,
    post_answer,
    post_answers,
    *refund_routes,
    *parcel_routes,
]
