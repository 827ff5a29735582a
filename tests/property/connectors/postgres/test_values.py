"""Whatever stands in a column, the event says what SQL says of it."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.capture import Capture

from connect.testing.postgres import PostgresServer


class Kind(NamedTuple):
    """A column type: values as text, the SQL that says what they are, and that of the event's value."""

    type: str
    values: st.SearchStrategy[str]
    sql: str
    shown: Callable[[Any], Any] = lambda value: value


def microseconds(interval: str) -> str:
    return f"(extract(epoch FROM {interval}) * 1000000)::bigint"


def unscaled(value: Any) -> Decimal:
    return Decimal(int.from_bytes(value["value"], "big", signed=True)).scaleb(-value["scale"])


def integers(bits: int) -> st.SearchStrategy[str]:
    return st.integers(-(1 << bits - 1), (1 << bits - 1) - 1).map(str)


def decimals(digits: int, scale: int) -> st.SearchStrategy[str]:
    limit = 10**digits - 1
    return st.integers(-limit, limit).map(lambda value: str(Decimal(value).scaleb(-scale)))


def array(items: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    def literal(values: list[str | None]) -> str:
        shown = (
            "NULL" if v is None else '"' + v.replace("\\", "\\\\").replace('"', '\\"') + '"' for v in values
        )
        return "{" + ",".join(shown) + "}"

    return st.lists(st.none() | items, max_size=4).map(literal)


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
floats = st.floats(allow_nan=True, allow_infinity=True).map(str)
moments = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30))
zoned = moments.map(lambda moment: moment.replace(tzinfo=UTC).isoformat())
intervals = st.tuples(*[st.integers(-3000, 3000)] * 4, st.integers(-(10**12), 10**12)).map(
    lambda parts: (
        f"{parts[0]} years {parts[1]} months {parts[2]} days {parts[3]} hours {parts[4]} microseconds"
    )
)
INTERVAL = (
    "((extract(year FROM {0}) * 12 + extract(month FROM {0})) * 2629800000000"
    " + extract(day FROM {0}) * 86400000000"
    " + extract(hour FROM {0}) * 3600000000 + extract(minute FROM {0}) * 60000000"
    " + extract(microseconds FROM {0}))::bigint"
)
bits = st.text("01", min_size=9, max_size=9)

KINDS = {
    "i2": Kind("smallint", integers(16), "{0}"),
    "i4": Kind("int", integers(32), "{0}"),
    "i8": Kind("bigint", integers(64), "{0}"),
    "f4": Kind("real", st.floats(width=32, allow_nan=True).map(repr), "{0}::text"),
    "f8": Kind("double precision", floats, "{0}::text"),
    "b": Kind("boolean", st.sampled_from(["t", "f"]), "{0}"),
    "n": Kind("numeric(20,7)", decimals(20, 7), "{0}::text", Decimal),
    "nv": Kind("numeric", decimals(60, 30), "{0}::text", unscaled),
    "c": Kind("char(5)", texts.map(lambda text: text[:5]), "rpad({0}::text, 5)"),
    "t": Kind("text", texts, "{0}"),
    "j": Kind("jsonb", texts.map(json.dumps), "{0}::text"),
    "by": Kind("bytea", st.binary(max_size=12).map(lambda data: "\\x" + data.hex()),
               "encode({0}, 'hex')", bytes.hex),
    "bt": Kind("bit(9)", bits, "{0}::text", lambda v: f"{int.from_bytes(v, 'little'):09b}"),
    "d": Kind("date", moments.map(lambda moment: moment.date().isoformat()), "{0} - date '1970-01-01'"),
    "ts": Kind("timestamp", moments.map(str), microseconds("{0}")),
    "tm": Kind("timestamp(3)", moments.map(str), "floor(extract(epoch FROM {0}) * 1000)::bigint"),
    "tz": Kind("timestamptz", zoned, "to_char({0}, 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"),
    "ti": Kind("time", st.times().map(str), microseconds("{0}")),
    "iv": Kind("interval", intervals, INTERVAL),
    "u": Kind("uuid", st.uuids().map(str), "{0}::text"),
    "ip": Kind("inet", st.ip_addresses().map(str), "host({0})"),
    "r": Kind("int8range", st.integers(-9, 9).map(lambda low: f"[{low},{low + 3})"), "{0}::text"),
    "ai": Kind("int[]", array(integers(32)), "to_json({0})"),
    "at": Kind("text[]", array(texts), "to_json({0})"),
    "an": Kind("numeric(9,2)[]", array(decimals(9, 2)), "to_json({0}::text[])",
               lambda v: [None if item is None else str(item) for item in v]),
    "ad": Kind("small[]", array(st.integers(-99, 99).map(str)), "to_json({0})"),
    "dt": Kind("word", texts, "{0}"),
}  # fmt: skip
rows = st.fixed_dictionaries({name: st.none() | kind.values for name, kind in KINDS.items()})


@pytest.fixture(scope="module")
def capture(postgres: PostgresServer) -> Iterator[Capture]:
    capture = Capture(postgres, poll__interval__ms="5")
    columns = ", ".join(f"{name} {kind.type}" for name, kind in KINDS.items())
    capture.sql(
        "CREATE DOMAIN small AS smallint; CREATE DOMAIN word AS text;"
        f"CREATE TABLE t (id serial PRIMARY KEY, {columns})"
    )
    yield capture
    capture.close()


def expected(capture: Capture, low: int) -> list[dict[str, Any]]:
    """What SQL says of the rows from `low` on."""
    wanted = ", ".join(kind.sql.format(name) for name, kind in KINDS.items())
    with capture.server.connect(capture.name) as connection:
        connection.execute("SET timezone = 'UTC'")
        found = connection.execute(f"SELECT {wanted} FROM t WHERE id >= {low} ORDER BY id".encode())
        return [dict(zip(KINDS, row, strict=True)) for row in found]


def insert(capture: Capture, values: list[dict[str, str | None]]) -> int:
    """The id of the first row."""
    names = ", ".join(KINDS)
    marks = ", ".join(f"%s::text::{kind.type}" for kind in KINDS.values())
    statement = f"INSERT INTO t ({names}) VALUES ({marks}) RETURNING id".encode()
    with capture.server.connect(capture.name) as connection, connection.transaction():
        ids = [connection.execute(statement, [row[name] for name in KINDS]).fetchone() for row in values]
    assert ids[0] is not None
    return int(ids[0][0])


def check(capture: Capture, values: list[dict[str, str | None]], start: bool = False) -> None:
    low = insert(capture, values)
    if start:
        capture.start()
    records = capture.drain()
    for record, said in zip(records, expected(capture, low), strict=True):
        shown = record.value["after"]
        for name, kind in KINDS.items():
            value = None if shown[name] is None else kind.shown(shown[name])
            assert same(value, said[name]), (name, kind.type, shown[name], said[name])


def same(value: Any, said: Any) -> bool:
    if isinstance(value, Decimal):
        return value == Decimal(said)
    if isinstance(value, float):
        return repr(value) == repr(float(said))
    return bool(value == said)


@settings(max_examples=8, suppress_health_check=list(HealthCheck), deadline=None)
@given(st.lists(rows, min_size=1, max_size=8))
def test_values(capture: Capture, values: list[dict[str, str | None]]) -> None:
    """The first example is read by a snapshot, the others from the stream."""
    check(capture, values, start=capture.task is None)
