"""What is in the files of a log, as text: the lines of Apache Kafka's kafka-dump-log.

https://kafka.apache.org/documentation/#dumplogsegments
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from broker.log.derived_files import ABORTED_ENTRY, OFFSET_ENTRY, TIME_ENTRY
from broker.log.inspect import NotALog, base_offset, mapped, next_intact, segment_files, sound_header
from broker.log.producer_snapshot import read_snapshot
from broker.log.producers import SEQUENCE_MODULUS, ProducerStates
from broker.wire.batch import NO_PRODUCER_ID, BatchHeader, InvalidBatch, check_crc
from broker.wire.markers import read_marker
from broker.wire.records import Record, read_records

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
NO_SEQUENCE = -1


def dump(path: Path, *, print_data_log: bool = False) -> Iterator[str]:
    """The lines of a file, or of all segments of a partition's directory. Raises NotALog."""
    if path.is_dir():
        files = segment_files(path)
        if not files:
            raise NotALog(f"{path} has no segments")
    elif path.is_file():
        files = [path]
    else:
        raise NotALog(f"{path} is neither a file nor a directory")
    for file in files:
        yield f"Dumping {file}"
        if file.suffix in (".log", ".swap"):
            yield from _dump_segment(file, print_data_log=print_data_log)
        elif file.suffix in _OTHERS:
            yield from _OTHERS[file.suffix](file)
        else:
            known = ", ".join([".log", *_OTHERS])
            raise NotALog(f"{file} is none of the files of a log ({known})")


def _dump_segment(path: Path, *, print_data_log: bool) -> Iterator[str]:
    base = base_offset(path)
    yield f"Log starting offset: {base}"
    with mapped(path) as view:
        position = 0
        while position < len(view):
            try:
                header = sound_header(view, position)
            except InvalidBatch as exc:
                following = next_intact(view, position + 1)
                yield f"position: {position} size: {following - position} isvalid: false problem: {exc}"
                position = following
                continue
            with view[position : position + header.batch_bytes] as batch:
                problem = _problem(batch, header)
                yield _batch_line(position, header, problem)
                if print_data_log and not problem:
                    yield from _record_lines(batch, header)
            position += header.batch_bytes


def _problem(batch: memoryview, header: BatchHeader) -> str:
    try:
        check_crc(batch, header)
    except InvalidBatch as exc:
        return str(exc)
    return ""


def _batch_line(position: int, header: BatchHeader, problem: str) -> str:
    sequenced = header.base_sequence != NO_SEQUENCE
    last_sequence = (header.base_sequence + header.last_offset_delta) % SEQUENCE_MODULUS
    horizon = header.delete_horizon_ms
    fields = {
        "baseOffset": header.base_offset,
        "lastOffset": header.last_offset,
        "count": header.records_count,
        "baseSequence": header.base_sequence,
        "lastSequence": last_sequence if sequenced else NO_SEQUENCE,
        "producerId": header.producer_id,
        "producerEpoch": header.producer_epoch,
        "partitionLeaderEpoch": header.partition_leader_epoch,
        "isTransactional": _boolean(header.is_transactional),
        "isControl": _boolean(header.is_control),
        "deleteHorizonMs": "OptionalLong.empty" if horizon is None else f"OptionalLong[{horizon}]",
        "position": position,
        _time_field(header): header.max_timestamp,
        "size": header.batch_bytes,
        "magic": header.magic,
        "compresscodec": CODECS[header.compression] if header.compression < len(CODECS) else "unknown",
        "crc": header.crc,
        "isvalid": _boolean(not problem),
    }
    if problem:
        fields["problem"] = problem
    return " ".join(f"{name}: {value}" for name, value in fields.items())


def _record_lines(batch: memoryview, header: BatchHeader) -> Iterator[str]:
    try:
        for number, record in enumerate(read_records(batch, header)):
            yield _record_line(batch, header, record, number)
    except InvalidBatch as exc:
        yield f"| problem: {exc}"


def _record_line(batch: memoryview, header: BatchHeader, record: Record, number: int) -> str:
    sequence = NO_SEQUENCE
    if header.producer_id != NO_PRODUCER_ID and header.base_sequence != NO_SEQUENCE:
        sequence = (header.base_sequence + number) % SEQUENCE_MODULUS
    fields = [
        f"offset: {record.offset}",
        f"{_time_field(header)}: {record.timestamp}",
        f"keySize: {-1 if record.key is None else len(record.key)}",
        f"valueSize: {-1 if record.value is None else len(record.value)}",
        f"sequence: {sequence}",
        f"headerKeys: [{','.join(_text(name) for name, _ in record.headers)}]",
    ]
    marker = read_marker(batch, header) if header.is_control else None
    if marker is not None:
        fields += [
            f"endTxnMarker: {'COMMIT' if marker.is_commit else 'ABORT'}",
            f"coordinatorEpoch: {marker.coordinator_epoch}",
        ]
    else:
        if record.key is not None:
            fields.append(f"key: {_text(record.key)}")
        if record.value is not None:
            fields.append(f"payload: {_text(record.value)}")
    return f"| {' '.join(fields)}"


def _time_field(header: BatchHeader) -> str:
    return "LogAppendTime" if header.is_log_append_time else "CreateTime"


def _boolean(value: bool) -> str:
    return str(value).lower()


def _text(data: memoryview) -> str:
    return bytes(data).decode("utf-8", "replace")


def _dump_offset_index(path: Path) -> Iterator[str]:
    base = int(path.stem)
    for relative, position in OFFSET_ENTRY.iter_unpack(_whole(path, OFFSET_ENTRY.size)):
        yield f"offset: {base + relative} position: {position}"


def _dump_time_index(path: Path) -> Iterator[str]:
    base = int(path.stem)
    for timestamp, relative in TIME_ENTRY.iter_unpack(_whole(path, TIME_ENTRY.size)):
        yield f"timestamp: {timestamp} offset: {base + relative}"


def _dump_aborted_index(path: Path) -> Iterator[str]:
    for version, producer_id, first, last, stable in ABORTED_ENTRY.iter_unpack(
        _whole(path, ABORTED_ENTRY.size)
    ):
        yield (
            f"version: {version} producerId: {producer_id} firstOffset: {first} lastOffset: {last} "
            f"lastStableOffset: {stable}"
        )


def _dump_snapshot(path: Path) -> Iterator[str]:
    producers = ProducerStates()
    if read_snapshot(path, producers) is None:
        yield "isvalid: false problem: no intact snapshot of producers"
        return
    for producer_id, producer in producers:
        start = producers.open_transaction(producer_id)
        line = (
            f"producerId: {producer_id} producerEpoch: {producer.producer_epoch} "
            f"coordinatorEpoch: {producer.coordinator_epoch} currentTxnFirstOffset: "
            f"{'OptionalLong.empty' if start is None else f'OptionalLong[{start}]'} "
            f"lastTimestamp: {producer.last_timestamp}"
        )
        for batch in producer.batches:
            yield (
                f"{line} firstSequence: {batch.first_sequence} lastSequence: {batch.last_sequence} "
                f"lastOffset: {batch.last_offset} offsetDelta: {batch.last_offset - batch.base_offset} "
                f"timestamp: {batch.timestamp}"
            )
        if not producer.batches:
            yield line


def _whole(path: Path, size: int) -> bytes:
    data = path.read_bytes()
    return data[: len(data) - len(data) % size]


_OTHERS: dict[str, Callable[[Path], Iterator[str]]] = {
    ".index": _dump_offset_index,
    ".timeindex": _dump_time_index,
    ".txnindex": _dump_aborted_index,
    ".snapshot": _dump_snapshot,
}
