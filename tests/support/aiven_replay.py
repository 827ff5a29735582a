"""Recordings of the Java Aiven S3 sink (tests/golden/s3) done again with the sink task, and what it left in
the bucket told as the recordings tell it.

The task is driven as a worker drives it: converters, transforms, delivery, commit. All that a step produces
is delivered at once.
"""

import gzip
import io
import struct
from base64 import b64decode, b64encode
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from datetime import time as time_of_day
from decimal import Decimal
from functools import cache
from hashlib import sha256
from importlib.metadata import entry_points
from typing import Any, Final
from unittest.mock import patch

import cramjam
import fastavro
import orjson
from pyarrow import parquet
from support.task_contexts import SinkContext

from connect.api import (
    ConfigError,
    ConnectError,
    Converter,
    DataError,
    HeaderConverter,
    RetriableError,
    SinkRecord,
    SinkTask,
    TopicPartition,
)
from connect.runtime.plugins import PluginKind, Plugins
from connect.transforms.chain import TransformChain, build_chain
from connectors.s3.access import Access, make_client
from connectors.s3.aiven.plugin import AivenS3SinkConnector

_JSON: Final = "org.apache.kafka.connect.json.JsonConverter"
_HEADERS: Final = "org.apache.kafka.connect.storage.SimpleHeaderConverter"
_BIG_BYTES: Final = 100_000


_Produced = tuple[TopicPartition, Mapping[str, Any]]


class Replay:
    """A recorded scenario, with a bucket of its own. After `run`, `waits` says how each wait ended:
    committed, failed, retrying, refused; `error` has what the last one raised."""

    def __init__(self, scenario: Mapping[str, Any], s3: Any) -> None:
        self.scenario = scenario
        self.bucket = f"{scenario['scenario'].replace('_', '-')}-{sha256(b'%d' % id(self)).hexdigest()[:8]}"
        self.waits: list[str] = []
        self.keys: list[list[str]] = []
        self.error: Exception | None = None
        self.committed: dict[TopicPartition, int] = {}
        self._s3 = s3
        self._client = _client_of(s3)
        self._produced: list[_Produced] = []
        self._config = dict(scenario.get("config", {}))
        self._makes_bucket = {"do": "bucket", "with": False} not in scenario.get("steps", [])

    def run(self) -> None:
        with patch("connectors.s3.stores.s3.make_client", _shared_client):
            self._run()

    def _run(self) -> None:
        if self._makes_bucket:
            self.create_bucket()
        sink: _Sink | None = None
        for step in self.scenario["steps"]:
            match step["do"]:
                case "produce":
                    self._produce(step["result"])
                case "bucket" if step["with"]:
                    self.create_bucket()
                case "deploy" | "restart" | "resume":
                    self._end(sink)
                    sink = self._start()
                case "stop" | "delete":
                    self._end(sink)
                    sink = None
                case "reset":
                    self.committed.clear()
                case "alter":
                    for part in step["with"]["offsets"]:
                        where = TopicPartition(
                            part["partition"]["kafka_topic"], part["partition"]["kafka_partition"]
                        )
                        self.committed[where] = part["offset"]["kafka_offset"]
                case "config":
                    self._config |= step["with"]
                    self._end(sink)
                    sink = self._start()
                case "wait":
                    self._wait(sink)
        self._end(sink)

    def create_bucket(self) -> None:
        self._s3.create_bucket(self.bucket)

    def errors_of(self, change: Mapping[str, str | None]) -> list[str]:
        """The settings that are refused of the scenario's config with a change."""
        config = self.substituted({**self._config, **change})
        _, errors = AivenS3SinkConnector.config_class.examine(config)
        return [error.name for error in errors]

    def substituted(self, config: Mapping[str, str | None]) -> dict[str, str]:
        values = {"${S3}": self._s3.endpoint, "${S3_KEY}": "key", "${S3_SECRET}": "secret"}
        values["${bucket}"] = self.bucket
        found = {}
        for name, value in config.items():
            for mark, text in values.items():
                value = value.replace(mark, text) if value is not None else None
            if value is not None:
                found[name] = value
        return found

    def objects(self) -> dict[str, dict[str, Any]]:
        """As the recordings have them."""
        client = self._client
        listed = client.list_objects_v2(Bucket=self.bucket).get("Contents", [])
        found = {}
        for entry in listed:
            answer = client.get_object(Bucket=self.bucket, Key=entry["Key"])
            told = {"metadata": answer["Metadata"], "content_type": answer["ContentType"]}
            found[entry["Key"]] = told | told_content(answer["Body"].read())
        return found

    def _produce(self, count: int) -> None:
        for record in self.scenario["records"][len(self._produced) :][:count]:
            self._produced.append((TopicPartition(record["topic"], record["partition"]), record))

    def _start(self) -> "_Sink | None":
        try:
            return _Sink(self.substituted(self._config), self._produced, self.committed)
        except ConfigError as exc:
            self.error = exc
            return None

    def _end(self, sink: "_Sink | None") -> None:
        if sink is not None:
            sink.end()

    def _wait(self, sink: "_Sink | None") -> None:
        if sink is None:
            self.waits.append("refused")
            return
        try:
            done = sink.deliver()
        except RetriableError as exc:
            self.error = exc
            self.waits.append("retrying")
        except ConnectError as exc:
            self.error = exc
            self.waits.append("failed")
        else:
            self.waits.append("committed" if done else "nothing to commit")
        listed = []
        if self.waits[-1] == "committed":
            answer = self._client.list_objects_v2(Bucket=self.bucket)
            listed = [entry["Key"] for entry in answer.get("Contents", [])]
        self.keys.append(listed)


# Making a client takes longer than most scenarios.


@cache
def _client_of(s3: Any) -> Any:
    return s3.client()


def _shared_client(access: Access) -> Any:
    """A client is the same for all buckets."""
    return _sink_client(replace(access, bucket=""))


_sink_client = cache(make_client)


class _Context(SinkContext):
    def __init__(self, *, tolerant: bool) -> None:
        super().__init__()
        self._tolerant = tolerant

    def report_errant(self, record: SinkRecord, error: Exception) -> None:
        self.refuse(error)

    def refuse(self, error: Exception) -> None:
        if not self._tolerant:
            raise error


class _Sink:
    """A task that has got what `committed` says, and more with each `deliver`."""

    def __init__(
        self,
        config: dict[str, str],
        produced: Sequence[_Produced],
        committed: dict[TopicPartition, int],
    ) -> None:
        self._produced, self._next = produced, 0
        self._committed = committed
        self._positions = defaultdict(int, committed)
        self._ends: dict[TopicPartition, int] = defaultdict(int)
        self._context = _Context(tolerant=config.get("errors.tolerance") == "all")
        self._key = _converter(config, "key.converter", _JSON, is_key=True)
        self._value = _converter(config, "value.converter", _JSON, is_key=False)
        self._headers = _header_converter(config)
        find = Plugins.discover().finder
        self._chain: TransformChain | None = build_chain(
            config, find(PluginKind.TRANSFORM), find(PluginKind.PREDICATE)
        )
        self._task: SinkTask[Any] = AivenS3SinkConnector.task_class()
        self._task.start(self._context, AivenS3SinkConnector.config_class.parse(config))

    def deliver(self) -> bool:
        """Everything that there is, then a commit; whether there was anything."""
        records = []
        for partition, raw in self._produced[self._next :]:
            offset = self._ends[partition]
            self._ends[partition] += 1
            if offset < self._positions[partition]:
                continue
            try:
                record = self._record(partition, offset, raw)
            except DataError as exc:
                self._context.refuse(exc)
                continue
            changed = record if self._chain is None else self._chain.apply(record)
            records += [changed] if changed is not None else []
        self._next = len(self._produced)
        self._task.put(records)
        self._positions |= self._ends
        self._commit()
        if self._committed != self._positions:
            self._task.put([])  # tells what went wrong
        return bool(self._positions)

    def end(self) -> None:
        self._commit()
        self._task.close(list(self._positions))
        self._task.stop()

    def _commit(self) -> None:
        if self._positions:
            self._committed |= self._task.pre_commit(dict(self._positions))

    def _record(self, partition: TopicPartition, offset: int, raw: Mapping[str, Any]) -> SinkRecord:
        topic = partition.topic
        key = self._key.to_connect(topic, bytes_of(raw["key"], offset))
        value = self._value.to_connect(topic, bytes_of(raw["value"], offset))
        headers = [
            self._headers.to_connect_header(topic, name, bytes_of(data, 0)) for name, data in raw["headers"]
        ]
        return SinkRecord(
            *partition, offset, value.value, value_schema=value.schema, key=key.value, key_schema=key.schema,
            timestamp_ms=raw["timestamp"], headers=headers,
        )  # fmt: skip


def bytes_of(shown: Any, number: int) -> bytes | None:
    """What a recording shows of a key or value. Of big ones it has a hash: they repeat a number."""
    if shown is None or isinstance(shown, str):
        return None if shown is None else shown.encode()
    if "base64" in shown:
        return b64decode(shown["base64"])
    data = b"%02d" % number * (shown["bytes"] // 2)
    assert sha256(data).hexdigest() == shown["sha256"]
    return data


def told_content(data: bytes) -> dict[str, Any]:
    """Content as the recordings have it: text, or what is in the compressed, Avro or Parquet file."""
    if len(data) > _BIG_BYTES:
        return {"content": {"bytes": len(data), "sha256": sha256(data).hexdigest()}}
    plain, compression = _decompressed(data)
    told: dict[str, Any] = {"compression": compression} if compression else {}
    if plain.startswith(b"Obj\x01"):
        reader = fastavro.reader(io.BytesIO(plain))
        schema = orjson.loads(reader.metadata["avro.schema"])
        told["avro"] = {
            "schema": schema,
            "codec": reader.metadata["avro.codec"],
            "rows": _shown(list(reader)),
        }
    elif plain.startswith(b"PAR1"):
        file = parquet.ParquetFile(io.BytesIO(plain))
        told["parquet"] = {
            "avro": orjson.loads(file.metadata.metadata.get(b"parquet.avro.schema", b"null")),
            "codecs": [_codecs(file.metadata.row_group(n)) for n in range(file.metadata.num_row_groups)],
            "rows": _shown(file.read().to_pylist()),
        }
    else:
        told["decompressed" if compression else "content"] = _text(plain)
    return told


def _codecs(group: Any) -> list[str]:
    return sorted({group.column(n).compression for n in range(group.num_columns)})


def _decompressed(data: bytes) -> tuple[bytes, str | None]:
    if data.startswith(b"\x1f\x8b"):
        return gzip.decompress(data), "gzip"
    if data.startswith(b"\x28\xb5\x2f\xfd"):
        return bytes(cramjam.zstd.decompress(data)), "zstd"
    if not data.startswith(b"\x82SNAPPY\x00"):
        return data, None
    plain, position = b"", 16
    while position < len(data):
        (size,) = struct.unpack_from(">I", data, position)
        plain += bytes(cramjam.snappy.decompress_raw(data[position + 4 : position + 4 + size]))
        position += 4 + size
    return plain, "snappy (xerial framing)"


def _text(data: bytes) -> Any:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": b64encode(data).decode()}


def _shown(value: Any) -> Any:
    match value:
        case bytes():
            return {"base64": b64encode(value).decode()}
        case Decimal():
            return {"decimal": str(value)}
        case datetime():
            return {"datetime": value.isoformat(timespec="milliseconds").replace("+00:00", "000+00:00")}
        case date():
            return {"date": value.isoformat()}
        case time_of_day():
            return {"time": value.isoformat(timespec="microseconds")}
        case dict():
            return {name: _shown(member) for name, member in value.items()}
        case list() | tuple():
            return [_shown(member) for member in value]
        case _:
            return value


def as_json(text: Any) -> Any:
    """Text as the JSON that it is, as a whole or a line each: the Java connector writes fields in the order
    of a hash map."""
    if not isinstance(text, str):
        return text
    for parse in (orjson.loads, lambda lines: [orjson.loads(line) for line in lines.split("\n")]):
        try:
            return parse(text)
        except orjson.JSONDecodeError:
            continue
    return text


def _converter(config: Mapping[str, str], name: str, default: str, *, is_key: bool) -> Converter:
    made: Converter = _plugin(config.get(name, default))
    made.configure(_inside(config, name), is_key)
    return made


def _header_converter(config: Mapping[str, str]) -> HeaderConverter:
    made: Any = _plugin(config.get("header.converter", _HEADERS))
    inside = _inside(config, "header.converter")
    if isinstance(made, Converter):
        made.configure(inside, False)
    else:
        made.configure(inside)
    return made


def _plugin(name: str) -> Any:
    found: Iterable[Any] = entry_points(name=name)
    return next(entry for entry in found if entry.group.startswith("millstream.")).load()()


def _inside(config: Mapping[str, str], prefix: str) -> dict[str, str]:
    return {
        name.removeprefix(f"{prefix}."): value
        for name, value in config.items()
        if name.startswith(f"{prefix}.")
    }
