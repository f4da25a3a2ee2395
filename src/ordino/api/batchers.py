"""What is answered in sets: orders, stock, totals of stock, and promises."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from ordino.core.batcher import Batcher
from ordino.core.database import Database
from ordino.core.errors import NotFound
from ordino.core.settings import Settings
from ordino.inventory.api.stock import Reader, Totaler
from ordino.inventory.availability import Ask, Availability, available
from ordino.inventory.totals import totals
from ordino.orders.api import Placer
from ordino.orders.model import NewOrder, OrderRefused, Placed
from ordino.orders.place import place
from ordino.orders.promise import Promise, PromiseRefused, PromiseRequest, promise
from ordino.orders.sourcing_api import Promiser

TOTALED_AT_ONCE = 32
PROMISED_AT_ONCE = 64
LANES = 2  # while one set waits for the database, another is decided


class Batchers(Struct, frozen=True, kw_only=True):
    """The batchers of one server process; handlers find each by its name in the application's state."""

    placer: Placer
    reader: Reader
    totaler: Totaler
    promiser: Promiser

    async def close(self) -> None:
        """Carry out what waits, and end."""
        await self.placer.close()
        await self.reader.close()
        await self.totaler.close()
        await self.promiser.close()


def batchers_on(database: Database, settings: Settings) -> Batchers:
    """Batchers whose sets run on this database; a set has ``batch_timeout_seconds``."""
    seconds = settings.batch_timeout_seconds

    async def run(orders: Sequence[NewOrder]) -> list[Placed | OrderRefused]:
        return await database.transact(lambda tx: place(tx, orders, at=database.clock.now()), seconds=seconds)

    async def look(asks: Sequence[Ask]) -> list[Availability | NotFound]:
        return await database.read(lambda tx: available(tx, asks, at=database.clock.now()), seconds=seconds)

    async def add_up(many: Sequence[Sequence[Ask]]) -> list[list[Availability | NotFound]]:
        asks = [ask for some in many for ask in some]
        answers = iter(await database.read(lambda tx: totals(tx, asks, at=database.clock.now()), seconds=seconds))
        return [[next(answers) for _ in some] for some in many]

    async def foresee(asked: Sequence[PromiseRequest]) -> list[Promise | PromiseRefused]:
        return await database.read(lambda tx: promise(tx, asked, at=database.clock.now()), seconds=seconds)

    size, room = settings.batch_size, settings.queue_size
    return Batchers(
        placer=Batcher(run, size=size, lanes=LANES, queue_size=room),
        reader=Batcher(look, size=size, lanes=LANES, queue_size=room),
        totaler=Batcher(add_up, size=TOTALED_AT_ONCE, lanes=LANES, queue_size=room),
        promiser=Batcher(foresee, size=PROMISED_AT_ONCE, lanes=LANES, queue_size=room),
    )
