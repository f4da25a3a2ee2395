"""What stock does by itself, again and again."""

from __future__ import annotations

from ordino.core.reactions import registry
from ordino.inventory import adjust, count_sheets, holds, shortfalls, signals, transfers, unavailable  # noqa: F401 - flows may name what they tell

registry.duty("expire_holds", every_seconds=1)(holds.expire)
registry.duty("publish_changes", every_seconds=1)(signals.publish)
registry.duty("forget_counted", every_seconds=3600)(adjust.forget_counted)
registry.duty("make_count_sheets", every_seconds=3600)(count_sheets.make_due_sheets)
registry.duty("expire_lots", every_seconds=60)(unavailable.expire_lots)
