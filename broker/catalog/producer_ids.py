"""Producer ids, taken from the catalog in blocks: one write for a thousand producers."""

from broker.catalog.catalog import Catalog


class ProducerIds:
    """Use from one event loop."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._block = iter(range(0))

    async def take(self) -> int:
        """An id that was never used. Raises CatalogWriteError."""
        while (producer_id := next(self._block, None)) is None:
            self._block = iter(await self._catalog.next_producer_id_block())
        return producer_id
