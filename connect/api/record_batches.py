"""Source records by the thousand: what many of them share is said once, and nothing is made for one of them
unless somebody looks at it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, overload

from connect.api.records import Header, JsonPayload, SourceRecord
from connect.api.schemas import Schema


class JsonRecords(Sequence[SourceRecord]):
    """Records of one topic whose keys and values are JSON, as that of a `JsonPayload`, and differ in nothing
    else but their offsets: `offset_of` gives that of the record at an index.

    Without a transform the JSON goes to Kafka as it is. Whoever asks for a record gets one that is made then.
    """

    __slots__ = (
        "_decode_key", "_decode_value", "_offset_of", "headers", "key_schema", "keys", "source_partition",
        "topic", "value_schema", "values",
    )  # fmt: skip

    def __init__(
        self,
        source_partition: Mapping[str, Any],
        offset_of: Callable[[int], Mapping[str, Any]],
        topic: str,
        values: Sequence[bytes],
        value_schema: Schema,
        decode_value: Callable[[bytes], Any],
        *,
        keys: Sequence[bytes] | None = None,
        key_schema: Schema | None = None,
        decode_key: Callable[[bytes], Any] | None = None,
        headers: Sequence[Header] = (),
    ) -> None:
        self.source_partition = source_partition
        self.topic = topic
        self.values = values
        self.value_schema = value_schema
        self.keys = keys
        self.key_schema = key_schema
        self.headers = headers
        self._offset_of = offset_of
        self._decode_value = decode_value
        self._decode_key = decode_key

    def __len__(self) -> int:
        return len(self.values)

    @overload
    def __getitem__(self, index: int) -> SourceRecord: ...
    @overload
    def __getitem__(self, index: slice) -> list[SourceRecord]: ...
    def __getitem__(self, index: int | slice) -> SourceRecord | list[SourceRecord]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        return SourceRecord(
            self.source_partition, self._offset_of(place), self.topic,
            JsonPayload(self.values[place], self._decode_value), value_schema=self.value_schema,
            key=None if self.keys is None else JsonPayload(self.keys[place], self._decode_key),
            key_schema=self.key_schema, headers=self.headers,
        )  # fmt: skip


class RecordBatch(Sequence[SourceRecord]):
    """Records in their order, singly and as `JsonRecords`; what `poll` may return instead of a list.

    `parts` are lists of single records and `JsonRecords`; the last one is always such a list.
    """

    __slots__ = ("_before", "_single", "parts")

    def __init__(self, records: Iterable[SourceRecord] = ()) -> None:
        self._single = list(records)
        self._before = 0  # records of the parts before `_single`
        self.parts: list[Sequence[SourceRecord]] = [self._single]

    def append(self, record: SourceRecord) -> None:
        """Append one, singly."""
        self._single.append(record)

    def __iadd__(self, records: Iterable[SourceRecord]) -> "RecordBatch":
        self._single += records
        return self

    def add(self, records: JsonRecords) -> None:
        """Append them as they are."""
        self._before += len(self._single) + len(records)
        self._single = []
        self.parts += (records, self._single)

    def pop(self) -> SourceRecord:
        """Take the last record away, which must have been appended singly."""
        return self._single.pop()

    def __len__(self) -> int:
        return self._before + len(self._single)

    def __iter__(self) -> Iterator[SourceRecord]:
        for part in self.parts:
            yield from part

    @overload
    def __getitem__(self, index: int) -> SourceRecord: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[SourceRecord]: ...
    def __getitem__(self, index: int | slice) -> SourceRecord | Sequence[SourceRecord]:
        if isinstance(index, slice):
            whole = index.indices(len(self)) == (0, len(self), 1)
            return self if whole else list(self)[index]
        if index == -1 and self._single:
            return self._single[-1]
        place = range(len(self))[index]
        for part in self.parts:
            if place < len(part):
                return part[place]
            place -= len(part)
        raise IndexError(index)
