"""Control batches, byte for byte as Kafka 4.3.1 writes them."""

import pytest
from support.batches import patch

from broker.wire.batch import BatchHeader, InvalidBatch, check_crc
from broker.wire.markers import NO_COORDINATOR_EPOCH, TransactionMarker, marker_batch, read_marker

TIMESTAMP = 1795518354331
ABORTED = TransactionMarker(7018364, 5, 0, is_commit=False)
COMMITTED = TransactionMarker(7018364, 5, 3, is_commit=True)

KAFKA = {
    ABORTED: (2792949117, "2000000008000000000c00000000000000"),
    COMMITTED: (2501837351, "2000000008000000010c00000000000300"),
}
"""CRC and record of what a Kafka broker wrote for these markers."""


@pytest.mark.parametrize(("marker", "timestamp"), [(ABORTED, TIMESTAMP), (COMMITTED, TIMESTAMP + 11)])
def test_markers_are_those_of_kafka(marker: TransactionMarker, timestamp: int) -> None:
    batch = memoryview(marker_batch(marker, timestamp))
    header = BatchHeader(batch)
    check_crc(batch, header)
    assert (header.crc, batch[61:].hex()) == KAFKA[marker]
    assert (header.is_control, header.is_transactional, header.base_sequence) == (True, True, -1)
    assert read_marker(batch, header) == marker


def test_an_emptied_marker_says_only_that_it_was_one() -> None:
    batch = patch(marker_batch(ABORTED, TIMESTAMP)[:61], ">i", 57, 0)
    marker = read_marker(memoryview(batch), BatchHeader(batch))
    assert marker == TransactionMarker(7018364, 5, NO_COORDINATOR_EPOCH, is_commit=True)


def test_a_control_record_of_another_type_is_no_marker() -> None:
    batch = patch(marker_batch(ABORTED, TIMESTAMP), ">h", 61 + 7, 2)
    assert read_marker(memoryview(batch), BatchHeader(batch)) is None


@pytest.mark.parametrize("size", range(61, 78))
def test_a_cut_marker_is_an_error(size: int) -> None:
    batch = memoryview(marker_batch(ABORTED, TIMESTAMP))[:size]
    with pytest.raises(InvalidBatch):
        read_marker(batch, BatchHeader(batch))


@pytest.mark.parametrize("position", [61, 65, 70])
def test_a_marker_with_a_wrong_length_is_an_error(position: int) -> None:
    batch = patch(marker_batch(ABORTED, TIMESTAMP), ">b", position, 30)
    with pytest.raises(InvalidBatch):
        read_marker(memoryview(batch), BatchHeader(batch))
