"""Placement accepts nothing that could only wait for ever: what no location can ever serve is refused, or dropped.

Strategies' conditions are asked for it, and so it is judged in a thread where that takes long (``sourcing.aside``).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

from msgspec import Struct

from ordino.network.facts import NetworkFacts
from ordino.sourcing.aside import Policy, aside, chosen_by
from ordino.sourcing.model import Decision, Request, ShortPolicy
from ordino.sourcing.never import Never, never


class NeverServed(Struct, frozen=True):
    """What nothing can ever serve, by places in a batch of requests.

    ``orders``: the first such line of an order that has to be refused for it. ``dropped``: line number -> why, of orders that do
    without these lines.
    """

    orders: Mapping[int, Never]
    dropped: Mapping[int, Mapping[int, str]]


async def never_served(
    requests: Sequence[Request], decisions: Sequence[Decision], network: NetworkFacts, policy: Policy
) -> NeverServed:
    """Judges only what a decision left short, dropped or refused: an order that is filled costs nothing here."""
    judged = [
        (index, request, decision)
        for index, (request, decision) in enumerate(zip(requests, decisions, strict=True))
        if decision.refused or decision.short or decision.dropped
    ]

    def judge(network: NetworkFacts, policy: Policy) -> NeverServed:
        orders: dict[int, Never] = {}
        dropped: dict[int, dict[int, str]] = {}
        for index, request, decision in judged:
            if decision.refused:
                found = never(request, network, chosen_by(policy))
                if found and (request.short_policy is not ShortPolicy.DROP or len(found) == len(request.needs)):
                    orders[index] = next(iter(found.values()))
            elif decision.short:
                if found := never(request, network, chosen_by(policy), decision.short):
                    orders[index] = next(iter(found.values()))
            elif found := never(request, network, chosen_by(policy), decision.dropped):
                dropped[index] = {line_no: one.detail for line_no, one in found.items()}
        return NeverServed(orders, dropped)

    return await aside(judge, [request for _, request, _ in judged], network, policy)


async def never_served_lines(
    asked: Sequence[tuple[Request, Collection[int]]], network: NetworkFacts, policy: Policy
) -> dict[tuple[UUID, int], str]:
    """(order id, line number) -> why nothing can ever serve it, of these lines of each order."""

    def judge(network: NetworkFacts, policy: Policy) -> dict[tuple[UUID, int], str]:
        return {
            (request.request_id, line_no): one.detail
            for request, line_nos in asked
            for line_no, one in never(request, network, chosen_by(policy), line_nos).items()
        }

    return await aside(judge, [request for request, _ in asked], network, policy)
