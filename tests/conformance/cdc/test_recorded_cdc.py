"""Every recorded scenario of Debezium 3.6.1 gives the same events, schemas, keys, headers and offsets here.

`DIFFERENT` lists the places where Debezium is wrong and Millstream is not.
"""

import re

import psycopg
import pytest
from support.cdc_replay import RECORDINGS, Replay, compare, recorded

from connect.testing.postgres import PostgresServer

# The server must have been built with these.
NEEDS = {
    "postgis": "SELECT 1 FROM pg_available_extensions WHERE name = 'postgis'",
    "types_vector": "SELECT 1 FROM pg_available_extensions WHERE name = 'vector'",
    "types_xml": "SELECT 1 FROM pg_config WHERE name = 'CONFIGURE' AND setting LIKE '%--with-libxml%'",
}
# What a scenario's SQL uses came with this version of PostgreSQL (MILLSTREAM_POSTGRES_BIN takes another one).
SINCE = {
    "generated_columns": 18, "partitioned_root": 15, "publication_all_tables": 17, "publication_disabled": 17,
    "publication_filtered": 17, "publication_no_tables": 17, "types_interval_infinity": 17,
    "types_numbers_precise": 15, "types_numbers_string": 15, "types_text": 16,
    "types_text_binary_base64": 16, "types_text_hstore_map": 16,
}  # fmt: skip

_LEFT_OUT = "arrays of money, interval and domains are left out without a word"
_NULL_ARRAY = "an enum array with a NULL inside becomes null as a whole, so its items are not optional"
_SNAPSHOT_DATE = "infinite dates are other numbers in the snapshot than in the stream"
_PAUSED = "that a snapshot is paused is not in the offset"
_NAME = "name columns are null in the stream"
_NEGATIVE_SCALE = "numeric(p,-s) has scale 2046"
_DENORMAL = "Java writes the smallest float with one digit more; it is the same number"
_MESSAGES = "messages are counted under the identities of Java objects"
_UNMASKED = "only char, varchar, text, name and enums are masked: other texts are shown"
_ITEMS = "items of arrays of text search vectors, of enums and of unknown types are not optional"
_SERIAL = "a serial column and a numeric without a scale have other types in the snapshot than in the stream"
_VECTORS = {r"after\.(o8|i2v): ": "oidvector and int2vector are always empty", r"items\.optional": _ITEMS}
_INFINITY = {r"inf\[[23]\].*after\.d:": _SNAPSHOT_DATE}
_ARRAYS = {
    r"(after|before)\S*: fields .*'m', .*'iv', ": _LEFT_OUT,
    r"(after|before).*\.bt\b": "bit arrays are null, under a schema of bytes",
    r"(after|before)\.tm\[0\]: ": "array items of type time lose their microseconds",
    r"((after|before)\.e: \[.*null|\.e\.items\.optional)": _NULL_ARRAY,
}
_NUMBERS = {r"c_num_neg": _NEGATIVE_SCALE, r"c_real: 1e-45 ": _DENORMAL}

_UNKNOWN_ITEMS = {
    r"(after|before)\S*: fields .*'ia', .*'ma', ": _LEFT_OUT,
    r"\.ca\.items\.optional": _ITEMS,
}

DIFFERENT: dict[str, dict[str, str]] = {
    "enum_labels": {
        r"\.ms\.items\.optional": _NULL_ARRAY,
        r"\.allowed: \"sad,ok,glad\" ": "labels that were added are unknown until a restart",
    },
    "unusual_arrays": {r"after\.a23: ": "arrays of ltree with a NULL inside become null as a whole"},
    "unusual_defaults": {
        r"after\.(u|ts): ": "they are of the moment",
        r"fields\.s: fields .*'default', |before\.s: \"a\\nb\" ": "a default with an end of line is none",
        r"fields\.cu: fields |before\.cu: \"\" ": "the default CURRENT_USER is taken for a text",
    },
    "keys_and_masks": {
        r"public\.(k\[[2-5]\]|t\[[678]\])|public\.[kt]: ":
            "an update of the primary key becomes a delete and a create with keys of defaults",
    },
    "unusual_times": {
        r"\[0\]\.value\S*after\.d: ": "dates before Christ lose that in the snapshot",
        r"after\.ta\[0\]: ": "array items of type time lose their microseconds",
    },
    "unusual_modes": {
        **_UNKNOWN_ITEMS,
        r"\[0\]\.value\S*after\.d: -735160 ": "dates before Christ lose that in the snapshot",
    },
    "alter_table": {
        r"t2\[0\]\.key: ": "the key of a renamed table is null when it is dropped right afterwards",
        r"t2\[0\]\.value\.schema.*fields\.id\.optional": "so is what is known of its columns",
    },
    "filter_column_include": {
        r"k\[0\]\.key.*id: 1 \| 0": "the key of a snapshot row is 0 when its column is excluded",
        r"[kz]\[\d\]\.key\.schema\.fields\.id\.optional: false": "and optional in the stream",
    },
    "masks_types": {
        r"masks_types.public.a\S+\.(ci|u|j|jb|x|r|l|h): \"\*\*\*\" ": _UNMASKED,
        r"masks_types.public.b\S+\.after\.(ci|u|j|jb|x|r|l|h): \"[0-9a-f]{64}\" ": _UNMASKED,
        r"after\.nm: ": _NAME,
        r"masks_types.public.d": "a column whose source type is propagated is not masked",
    },
    "propagate_all": {
        r"fields\.(n|se|bse)\.parameters": _SERIAL,
        r"\.am\.items\.optional": _ITEMS,
    },
    "replica_index": {
        r"public\.x\[\d\]\.(key|headers)": "keys of tables whose replica identity is an index are wrong",
    },
    "skip_unchanged_cols": {
        r"\.b\[\d\]\.key\.schema\.fields\.id\.optional: false": "optional where the column is excluded",
    },
    "topic_delimiter": {
        r"data_collections: |data_collection_order: 2|data_collection_order_message": _MESSAGES,
    },
    "tx_messages": {
        r"data_collection: \"message\"": _MESSAGES,
    },
    "blocking_snapshot": {
        r"offset\[0\]\.messageType": "the last message was a COMMIT, or the INSERT before it, by chance",
    },
    "incremental_paused_key_types": {
        r"(debezium_signal|public\.k|public\.later): \d+ records": "a key with timestamptz ends the snapshot",
        r"offset\[[01]\]: fields": _PAUSED,
    },
    "incremental_snapshot_pause": {
        r"debezium_signal\[\d+\]\.": "a paused snapshot goes on by itself after a restart",
        r"offset\[[01]\]: fields": _PAUSED,
    },
    "types_arrays": _ARRAYS,
    "types_arrays_iso": _ARRAYS,
    "types_arrays_multidim": {r"\[2\].*after\.[it]: \[": "arrays in arrays are nulls or Java object names"},
    "types_defaults": {r"(default|before\.v): \"it's\"": "a default with a quote ends at the quote"},
    "types_domain_over_enum": {r"^types_domain_over_enum|^offset|^failure": "the task fails at start"},
    "types_domains": {
        r"(after|before)\S*: fields .*'da'\]": _LEFT_OUT,
        r"\.ea\.items\.optional|after\.ea: \[null": _NULL_ARRAY,
    },
    "types_enum_array": {r"\.(a|nn)\.items\.optional|after\.a: \[.*null\]": _NULL_ARRAY},
    "types_extreme_dates_adaptive": {r"\[5\].*after\.ts: ": "timestamps near the upper limit overflow"},
    "types_geometric": {r"(after|before)\S*: fields .*'c_points'\]": _LEFT_OUT},
    "types_infinity_adaptive": _INFINITY,
    "types_infinity_connect": _INFINITY,
    "types_infinity_microseconds": _INFINITY,
    "types_infinity_nanoseconds": _INFINITY,
    "types_interval_infinity": {r"\[4\].*after\.v: ": "an infinite interval is 0"},
    "types_money": {r"(after|before)\S*: fields .*'a'\]": _LEFT_OUT},
    "types_numbers_precise": _NUMBERS,
    "types_numbers_string": _NUMBERS,
    "types_xml": {r"(after|before)\S*: fields .*'a', ": "arrays of xml are left out without a word"},
    "unknown_types": _VECTORS,
    "unknown_types_out": _VECTORS,
    "types_vector": {r"\.s\.vector\[": "a sparse vector has the order of Java's hashes; here its own"},
    "types_text": {r"\.c_name: ": _NAME},
    "types_text_binary_base64": {r"\.c_name: ": _NAME},
    "types_text_hstore_map": {r"\.c_name: ": _NAME},
}  # fmt: skip

# In test_recorded_by_the_clock.py.
BY_THE_CLOCK = {"heartbeat", "incremental_readonly", "snapshot_offsets_mid"}
SCENARIOS = sorted({path.parent.name for path in RECORDINGS.glob("*/scenario.sql")} - BY_THE_CLOCK)


@pytest.mark.parametrize("name", SCENARIOS)
def test_gives_what_debezium_gave(postgres: PostgresServer, name: str) -> None:
    if _version(postgres) < SINCE.get(name, 0):
        pytest.skip(f"the SQL of {name} needs PostgreSQL {SINCE[name]}")
    if name in NEEDS and not _has(postgres, NEEDS[name]):
        pytest.skip(f"this build of PostgreSQL lacks what {name} needs: {NEEDS[name]}")
    replay = Replay(postgres, name)
    replay.run()

    expected = DIFFERENT.get(name, {})
    found = compare(replay, recorded(name))
    unexpected = [line for line in found if not any(re.search(pattern, line) for pattern in expected)]
    assert unexpected == []
    unused = [pattern for pattern in expected if not any(re.search(pattern, line) for line in found)]
    assert unused == [], "these differences are gone: take them off the list"


def _version(postgres: PostgresServer) -> int:
    with postgres.connect() as connection:
        return connection.info.server_version // 10_000


def _has(postgres: PostgresServer, sql: str) -> bool:
    try:
        with postgres.connect() as connection:
            return connection.execute(sql.encode()).fetchone() is not None
    except psycopg.DatabaseError:
        return False
