"""Replays a recorded scenario against the connector and compares what comes out, in process.

The scenarios and recordings are those of tests/golden/cdc (see the README there): `scenario.sql` is SQL
with directives, `recorded.json` what Debezium wrote to the topics.
"""

import json
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
from support.capture import DEADLINE_S, Capture

from connect.api import ConnectError, Converter, SourceRecord
from connect.converters.header import SimpleHeaderConverter
from connect.converters.json import JsonConverter
from connect.testing.postgres import PostgresServer

RECORDINGS = Path(__file__).parents[1] / "golden" / "cdc"
VOLATILE = json.loads((RECORDINGS / "volatile.json").read_text())
MASK = "<volatile>"
_DIRECTIVE = re.compile(r"^-- @(\w+)\s*(.*)$")

Step = tuple[str, str]


def steps_of(path: Path) -> tuple[dict[str, str | None], list[Step]]:
    """(connector properties, steps) of a scenario."""
    properties: dict[str, str | None] = {}
    steps: list[Step] = []
    block: list[str] = []

    def flush() -> None:
        if text := "\n".join(block).strip():
            steps.append(("sql", text))
        block.clear()

    for line in path.read_text().splitlines():
        found = _DIRECTIVE.match(line)
        if not found:
            block.append(line)
            continue
        kind, rest = found.groups()
        if kind == "connector":
            properties.update(json.loads(rest))
        elif kind not in ("title", "topics", "settle"):
            flush()
            steps.append((kind, rest))
    flush()
    return properties, steps


class Replay:
    """One run of a scenario."""

    def __init__(self, server: PostgresServer, name: str) -> None:
        properties, self._steps = steps_of(RECORDINGS / name / "scenario.sql")
        self.capture = Capture(server, name)
        self.capture.change(properties)
        self.outputs: list[str] = []
        self.offsets: list[Mapping[str, Any] | None] = []
        self.failure: ConnectError | None = None
        self._sessions: dict[str, psycopg.Connection[Any]] = {}

    def run(self) -> None:
        try:
            for kind, text in self._steps:
                self._do(kind, text)
            self._drain()
            self.offsets.append(self.capture.record_offset)
        finally:
            for session in self._sessions.values():
                session.close()
            self.capture.close()

    def _do(self, kind: str, text: str) -> None:
        match kind:
            case "sql":
                self.outputs.append(self.capture.sql(text))
            case "start" | "create" | "resume":
                self.capture.start()
            case "in":
                name, _, sql = text.partition(" ")
                if name not in self._sessions:
                    self._sessions[name] = self.capture.server.connect(self.capture.name)
                self._sessions[name].execute(sql.encode())
                return
            case "stop" | "pause":
                self.capture.stop()
                self._await_free_slot()
            case "restart" | "config":
                self.capture.change(json.loads(text) if text else {})
                self.capture.stop()
                self.capture.start()
            case "check":
                self.offsets.append(self.capture.record_offset)
                return
            case "sync" | "sleep":
                pass
            case _:
                raise AssertionError(f"unknown directive {kind}")
        self._drain()

    def _drain(self) -> None:
        if self.capture.task is None or self.failure is not None:
            return
        try:
            self.capture.drain()
        except ConnectError as exc:
            self.failure = exc

    def _await_free_slot(self) -> None:
        """A scenario may drop the slot once the connector has stopped."""
        deadline = time.monotonic() + DEADLINE_S
        with self.capture.server.connect() as connection:
            while connection.execute(
                "SELECT FROM pg_replication_slots WHERE active AND slot_name = %s",
                (self.capture.properties["slot.name"],),
            ).fetchone():
                assert time.monotonic() < deadline, "the slot stays active"


class Rendered:
    """A record as it would stand in the topic: exact texts, with and without schemas."""

    def __init__(self) -> None:
        self._converters = {
            (enable, is_key): self._converter(enable, is_key)
            for enable in ("true", "false")
            for is_key in (True, False)
        }
        self._headers = SimpleHeaderConverter()
        self._headers.configure({})

    @staticmethod
    def _converter(enable: str, is_key: bool) -> Converter:
        converter = JsonConverter()
        converter.configure({"schemas.enable": enable}, is_key)
        return converter

    def __call__(self, record: SourceRecord, schemas: bool) -> dict[str, Any]:
        enable = "true" if schemas else "false"
        key = self._converters[enable, True].from_connect(record.topic, record.key_schema, record.raw_key)
        value = self._converters[enable, False].from_connect(
            record.topic, record.value_schema, record.raw_value
        )
        headers = [
            [h.name, (self._headers.from_connect_header(record.topic, h) or b"").decode()]
            for h in record.headers
        ]
        return {"topic": record.topic, "key": _parsed(key), "value": _parsed(value), "headers": headers}


def _parsed(data: bytes | None) -> Any:
    return None if data is None else json.loads(data)


def recorded(name: str) -> dict[str, Any]:
    """The recording, with the schemas put back to their places."""
    recording: dict[str, Any] = json.loads((RECORDINGS / name / "recorded.json").read_text())
    schemas = [json.loads(text) for text in recording["schemas"]]

    def whole(place: Any) -> Any:
        if isinstance(place, dict):
            return {"schema": schemas[place["schema"]], "payload": json.loads(place["payload"])}
        return place

    for record in recording["records"]:
        record["key"], record["value"] = whole(record["key"]), whole(record["value"])
    return recording


def masked(record: Mapping[str, Any], schemas: bool) -> dict[str, Any]:
    """The record with what differs from run to run taken out."""
    key, value = record["key"], record["value"]
    payload = value["payload"] if schemas and value is not None else value
    for path in VOLATILE["value"]:
        _mask(payload, path.split("."))
    if "event_count" in (payload or {}):  # of a transaction's begin or end
        for path in VOLATILE["transaction_topic_value"]:
            _mask(payload, [path])
        _mask(key["payload"] if schemas else key, VOLATILE["transaction_topic_key"])
    plain_key = key["payload"] if schemas and key is not None else key
    row = (payload or {}).get("after") or (payload or {}).get("before") or {}
    if "aggregate_type" in (payload or {}):
        for path in VOLATILE["notification_topic_value"]:
            _mask(payload, path.split("."))
        _mask(plain_key, ["id"])
    elif str(row.get("type", "")).startswith("snapshot-window-"):
        for path in VOLATILE["signal_table_rows"]:
            _mask(payload, path.split("."))
        _mask(plain_key, ["id"])
    headers = [[n, MASK if n in VOLATILE["header_values"] else text] for n, text in record["headers"]]
    return {"key": key, "value": value, "headers": headers}


def _mask(node: Any, steps: list[str]) -> None:
    if not isinstance(node, dict):
        return
    for name in list(node) if steps[0] == "*" else steps[:1]:
        if node.get(name) is None:
            continue
        if len(steps) == 1:
            node[name] = MASK
        else:
            _mask(node[name], steps[1:])


def without_schemas(record: Mapping[str, Any]) -> dict[str, Any]:
    """What the same record is with schemas.enable=false."""
    plain = dict(record)
    for part in ("key", "value"):
        if record[part] is not None:
            plain[part] = record[part]["payload"]
    return plain


def by_topic(records: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        found.setdefault(record["topic"], []).append(record)
    return found


def differences(path: str, ours: Any, theirs: Any) -> Iterator[str]:
    """The places where two JSON values differ, each as `path: ours | theirs`."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        if list(ours) != list(theirs):
            yield f"{path}: fields {list(ours)} | {list(theirs)}"
        for name in ours:
            if name in theirs:
                yield from differences(f"{path}.{name}", ours[name], theirs[name])
    elif _are_schema_fields(ours) and _are_schema_fields(theirs):
        one, two = ({field["field"]: field for field in fields} for fields in (ours, theirs))
        yield from differences(path, one, two)
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for index, (one, two) in enumerate(zip(ours, theirs, strict=True)):
            yield from differences(f"{path}[{index}]", one, two)
    elif ours != theirs or type(ours) is not type(theirs):
        yield f"{path}: {json.dumps(ours, ensure_ascii=False)} | {json.dumps(theirs, ensure_ascii=False)}"


def _are_schema_fields(value: Any) -> bool:
    return (
        isinstance(value, list) and bool(value) and all(isinstance(v, dict) and "field" in v for v in value)
    )


def compare(replay: Replay, recording: Mapping[str, Any]) -> list[str]:
    """All differences between a run and the recording."""
    found: list[str] = []
    rendered = Rendered()
    for schemas in (True, False):
        theirs = by_topic([r if schemas else without_schemas(r) for r in recording["records"]])
        ours = by_topic([rendered(record, schemas) for record in replay.capture.records])
        for topic in sorted(ours.keys() | theirs.keys()):
            mine, wanted = ours.get(topic, []), theirs.get(topic, [])
            if len(mine) != len(wanted):
                found.append(f"{topic}: {len(mine)} records | {len(wanted)}")
            for n, (one, two) in enumerate(zip(mine, wanted, strict=False)):
                found += differences(f"{topic}[{n}]", masked(one, schemas), masked(two, schemas))
    wanted_offsets = recording["offsets"]
    for n, (offset, wanted) in enumerate(zip(replay.offsets, wanted_offsets, strict=True)):
        found += differences(f"offset[{n}]", _masked_offset(offset), _masked_offset(wanted))
    found += differences("output", [text for text in replay.outputs if text], recording["outputs"])
    if bool(replay.failure) != recording["failed"]:
        found.append(f"failure: {replay.failure} | {recording['failed']}")
    return found


def _masked_offset(offset: Mapping[str, Any] | None) -> Any:
    if offset is None:
        return None
    return {name: MASK if name in VOLATILE["offset_value"] else offset[name] for name in sorted(offset)}
