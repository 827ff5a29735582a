"""Which epoch each producer had last, so that what an older one of it still says is refused."""

PRODUCERS_MAX = 10_000


class ProducerEpochs:
    """The newest epoch of the producers that have lately committed offsets or ended a transaction.

    The transaction coordinator has the lasting memory, and is asked before each commit. This one closes
    the gap after that: a transaction may end between its answer and the commit. So it may forget what is
    long ago, and all at a restart, which no such commit outlives.
    """

    def __init__(self) -> None:
        self._newest: dict[int, int] = {}

    def is_fenced(self, producer_id: int, producer_epoch: int) -> bool:
        """Whether a newer epoch of the producer has been seen."""
        return producer_epoch < self._newest.get(producer_id, producer_epoch)

    def saw(self, producer_id: int, producer_epoch: int) -> None:
        """Remember an epoch, and forget the producers that were not heard of for longest."""
        newest = max(producer_epoch, self._newest.pop(producer_id, producer_epoch))
        self._newest[producer_id] = newest
        if len(self._newest) > PRODUCERS_MAX:
            del self._newest[next(iter(self._newest))]
