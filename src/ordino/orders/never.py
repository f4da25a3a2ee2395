"""Placement accepts nothing that could only wait for ever: what no location can ever serve is refused, or dropped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from ordino.network.facts import NetworkFacts
from ordino.sourcing.decide import Policy
from ordino.sourcing.model import Decision, Request, ShortPolicy
from ordino.sourcing.never import Never, never


class NeverServed(Struct, frozen=True):
    """What nothing can ever serve, by places in a batch of requests.

    ``orders``: the first such line of an order that has to be refused for it. ``dropped``: line number -> why, of orders that do
    without these lines.
    """

    orders: Mapping[int, Never]
    dropped: Mapping[int, Mapping[int, str]]


def never_served(
    requests: Sequence[Request], decisions: Sequence[Decision], network: NetworkFacts, policy: Policy
) -> NeverServed:
    """Judges only what a decision left short, dropped or refused: an order that is filled costs nothing here."""
    orders: dict[int, Never] = {}
    dropped: dict[int, dict[int, str]] = {}
    for index, (request, decision) in enumerate(zip(requests, decisions, strict=True)):
        if decision.refused:
            found = never(request, network, policy)
            if found and (request.short_policy is not ShortPolicy.DROP or len(found) == len(request.needs)):
                orders[index] = next(iter(found.values()))
        elif decision.short:
            if found := never(request, network, policy, decision.short):
                orders[index] = next(iter(found.values()))
        elif decision.dropped and (found := never(request, network, policy, decision.dropped)):
            dropped[index] = {line_no: one.detail for line_no, one in found.items()}
    return NeverServed(orders, dropped)
