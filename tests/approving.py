"""A payment provider for tests that stand for one that is called."""

from __future__ import annotations

from ordino.connect.payments.manual import ManualProvider


class ApprovingProvider(ManualProvider):
    """Approves everything, each call by itself, as a provider does that is somewhere else."""

    calls_nobody = False
