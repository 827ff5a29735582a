"""What a read_committed consumer shows of what a broker sends, worked out as Kafka's clients do."""

from collections.abc import Iterable, Iterator

from kio.schema.errors import ErrorCode
from support.raw_kafka import RawKafka, fetch

from broker.log.partition_log import PartitionLog
from broker.wire.batch import BatchHeader
from broker.wire.markers import read_marker


def headers(content: bytes) -> Iterator[tuple[int, BatchHeader]]:
    """The batches of a piece of a log, and where each is in it."""
    position = 0
    while position < len(content):
        header = BatchHeader(content, position)
        yield position, header
        position += header.batch_bytes
    assert position == len(content)


def shown(content: bytes, aborted: Iterable[tuple[int, int]]) -> list[int]:
    """The base offsets of the data batches that are not aborted.

    `aborted`: producer id and first offset of the transactions that a Fetch names beside the batches.
    """
    waiting = sorted(aborted, key=lambda transaction: transaction[1])
    in_aborted_transaction: set[int] = set()
    found = []
    for position, header in headers(content):
        while waiting and waiting[0][1] <= header.last_offset:
            in_aborted_transaction.add(waiting.pop(0)[0])
        if header.is_control:
            marker = read_marker(memoryview(content)[position : position + header.batch_bytes], header)
            if marker is not None and not marker.is_commit:
                in_aborted_transaction.discard(header.producer_id)
        elif not (header.is_transactional and header.producer_id in in_aborted_transaction):
            found.append(header.base_offset)
    return found


def read_committed(log: PartitionLog, offset: int, max_bytes: int) -> list[int]:
    """The base offsets of all batches from `offset` on that are shown, read piece by piece."""
    found = []
    while (data := log.read(offset, max_bytes, committed=True)) is not None:
        transactions = log.aborted_transactions(offset, data.next_offset)
        found += shown(data.read(), [(t.producer_id, t.first_offset) for t in transactions])
        offset = data.next_offset
    return found


def read_committed_over(client: RawKafka, topic: str, partition: int = 0) -> list[int]:
    """As `read_committed`, over a socket, from the start to the last stable offset."""
    found: list[int] = []
    offset = 0
    while True:
        (answered,) = fetch(client, topic, {partition: offset}, committed=True).responses
        (part,) = answered.partitions
        assert part.error_code is ErrorCode.none, part
        if not part.records:
            assert offset == part.last_stable_offset
            return found
        aborted = [(a.producer_id, a.first_offset) for a in part.aborted_transactions or ()]
        found += shown(part.records, aborted)
        offset = max(header.last_offset for _, header in headers(part.records)) + 1
