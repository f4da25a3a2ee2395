"""What a key may be allowed to do, and the roles: sets of that under a name.

A permission allows what it says and nothing else: who may write stock may not read it without ``stock.read``.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from functools import cache


class Permission(StrEnum):
    """What an operation needs. What shows personal data needs ``customers.read`` besides."""

    ORDERS_READ = "orders.read"
    ORDERS_WRITE = "orders.write"
    CUSTOMERS_READ = "customers.read"
    PROMISES_ASK = "promises.ask"
    CATALOG_READ = "catalog.read"
    CATALOG_WRITE = "catalog.write"
    NETWORK_READ = "network.read"
    NETWORK_WRITE = "network.write"
    STOCK_READ = "stock.read"
    STOCK_WRITE = "stock.write"
    STOCK_HOLD = "stock.hold"
    SOURCING_RUN = "sourcing.run"
    FULFILLMENT_READ = "fulfillment.read"
    FULFILLMENT_WORK = "fulfillment.work"
    TRACKING_WRITE = "tracking.write"
    RETURNS_WRITE = "returns.write"
    REFUNDS_WRITE = "refunds.write"
    INSIGHTS_READ = "insights.read"
    EVENTS_READ = "events.read"
    EVENTS_FOLLOW = "events.follow"
    JOBS_READ = "jobs.read"
    JOBS_RUN = "jobs.run"
    POLICIES_READ = "policies.read"
    POLICIES_WRITE = "policies.write"
    ENGINE_READ = "engine.read"
    ENGINE_MANAGE = "engine.manage"
    KEYS_MANAGE = "keys.manage"


MEANING: dict[Permission, str] = {
    Permission.ORDERS_READ: "See orders with their sourcing decisions, parcels, returns and refunds, and exceptions.",
    Permission.ORDERS_WRITE: "Place and cancel orders, resolve exceptions, take survey answers, erase notes.",
    Permission.CUSTOMERS_READ: "See personal data (names, addresses, messages, notes), besides the operation's own permission.",
    Permission.PROMISES_ASK: "Ask for delivery promises, and preview from where an order would be sourced.",
    Permission.CATALOG_READ: "See sellers, channels, SKUs and kits.",
    Permission.CATALOG_WRITE: "Create and change sellers, channels, SKUs and kits.",
    Permission.NETWORK_READ: "See locations, networks, carrier services, calendars, capacities, rates and postal codes.",
    Permission.NETWORK_WRITE: (
        "Create, change and delete locations, networks, carrier services, calendars, capacities, rates and postal codes."
    ),
    Permission.STOCK_READ: "See stock, availability, holds, feeds, counts and transfers.",
    Permission.STOCK_WRITE: "Receive, correct, count, transfer and set aside stock; change buffers and other stock rules.",
    Permission.STOCK_HOLD: "Hold units for carts, and change and release holds.",
    Permission.SOURCING_RUN: "Replay past orders, reevaluate tentative ones, and compute or load the demand outlook.",
    Permission.FULFILLMENT_READ: "See fulfillment orders and work queues.",
    Permission.FULFILLMENT_WORK: "Release, pick, pack, ship and reject.",
    Permission.TRACKING_WRITE: "Send tracking events of carriers, and record the delivery dates that customers were told.",
    Permission.RETURNS_WRITE: "Authorize, receive and cancel returns, and receive parcels that come back.",
    Permission.REFUNDS_WRITE: "Refund money without goods.",
    Permission.INSIGHTS_READ: "See the KPIs and the orders that they count.",
    Permission.EVENTS_READ: "Read the event log, and see its subscriptions.",
    Permission.EVENTS_FOLLOW: "Create, acknowledge and delete subscriptions to the event log.",
    Permission.JOBS_READ: (
        "See jobs, what became of their rows, and the schedule of recurring work; what a job exports or reports also needs the "
        "permission to see that."
    ),
    Permission.JOBS_RUN: "Start, delay, cancel and revoke jobs; starting one also needs the permissions of its kind.",
    Permission.POLICIES_READ: "See flows and routing profiles, with reports of their trials and what reevaluation saved.",
    Permission.POLICIES_WRITE: "Draft, check, activate and retire flows and routing profiles.",
    Permission.ENGINE_READ: "See adapters, dead letters, and calls to payment providers and mail servers.",
    Permission.ENGINE_MANAGE: "Replay dead letters, and resume paused accounts of providers and mail servers.",
    Permission.KEYS_MANAGE: "List API keys, and create and revoke those that can do no more than the key used.",
}


class Role(StrEnum):
    """A set of permissions. Each role includes the ones before it."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


_READ = frozenset(
    {
        Permission.ORDERS_READ, Permission.CUSTOMERS_READ, Permission.CATALOG_READ, Permission.NETWORK_READ,
        Permission.STOCK_READ, Permission.FULFILLMENT_READ, Permission.INSIGHTS_READ, Permission.EVENTS_READ,
        Permission.POLICIES_READ, Permission.ENGINE_READ, Permission.JOBS_READ,
    }
)  # fmt: skip
_ADMIN_ONLY = frozenset({Permission.POLICIES_WRITE, Permission.ENGINE_MANAGE, Permission.KEYS_MANAGE})
ROLES: dict[Role, frozenset[Permission]] = {
    Role.READ: _READ,
    Role.WRITE: frozenset(Permission) - _ADMIN_ONLY,
    Role.ADMIN: frozenset(Permission),
}


def granted(roles: Iterable[str], permissions: Iterable[str]) -> frozenset[Permission]:
    """All that roles and single permissions come to. What this version does not know grants nothing."""
    return _granted(tuple(roles), tuple(permissions))


@cache
def _granted(roles: tuple[str, ...], permissions: tuple[str, ...]) -> frozenset[Permission]:
    known = frozenset(Permission(one) for one in permissions if one in _PERMISSIONS)
    return known.union(*(ROLES[Role(one)] for one in roles if one in _ROLES))


_PERMISSIONS, _ROLES = frozenset(map(str, Permission)), frozenset(map(str, Role))
