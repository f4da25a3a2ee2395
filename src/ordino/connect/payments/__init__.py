"""Payment providers."""

from ordino.connect.payments.manual import ManualProvider
from ordino.orders.payments import providers


def register() -> None:
    """Make the built-in providers known to this process."""
    providers.setdefault("manual", ManualProvider())
