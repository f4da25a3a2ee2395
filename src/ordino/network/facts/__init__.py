"""The network as sourcing sees it: who may ship, where to, at what cost and by when. Kept in memory part by part.

``network.py`` is what others ask; ``tariff.py`` knows costs, ``places.py`` zones and routes, ``calendar.py`` times, ``closed.py``
closures; ``load.py`` reads all of it from the database.
"""

from __future__ import annotations

from ordino.network.facts.load import facts
from ordino.network.facts.model import Channel, Closed, Location, Serving
from ordino.network.facts.network import NetworkFacts
from ordino.network.facts.places import Destination, distance_km

__all__ = ["Channel", "Closed", "Destination", "Location", "NetworkFacts", "Serving", "distance_km", "facts"]
