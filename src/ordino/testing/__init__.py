"""Conformance suites: what an adapter has to do, as tests that its author runs.

``from ordino.testing import PaymentProviderSuite``, subclass it, and give it the fixture ``provider``; ``pytest`` does the
rest. It needs pytest and pytest-asyncio (``pip install "ordino[testing]"``). ``docs/howto/write-an-adapter.md`` shows how.
"""

from ordino.testing.carriers import CarrierSuite, TrackingSuite
from ordino.testing.channels import ChannelSuite
from ordino.testing.faults import HttpFaultsSuite
from ordino.testing.messages import MessageProviderSuite
from ordino.testing.payments import DecliningSuite, PaymentProviderSuite
from ordino.testing.server import Asked, LocalServer, Reply

__all__ = [
    "Asked",
    "CarrierSuite",
    "ChannelSuite",
    "DecliningSuite",
    "HttpFaultsSuite",
    "LocalServer",
    "MessageProviderSuite",
    "PaymentProviderSuite",
    "Reply",
    "TrackingSuite",
]
