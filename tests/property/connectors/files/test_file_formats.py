"""Whatever stands in CSV and JSON files, wherever a reader goes on: the rows are those that were written."""

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from connect.api.schemas import OPTIONAL_STRING, struct
from connectors.readers import CsvDialect, CsvReader, JsonReader, TextSettings
from connectors.readers.csv_rows import Cells, Columns

CELL = st.text(st.sampled_from(list("a,\"\\\n \t;é'")), max_size=6)


def strings(names: Sequence[str], sample: Iterator[Cells]) -> Columns:
    return Columns(names, struct([(name, OPTIONAL_STRING) for name in names]), [str] * len(names))


ROWS = st.integers(1, 4).flatmap(
    lambda width: st.lists(st.lists(CELL, min_size=width, max_size=width), max_size=6)
)


@given(ROWS, st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]))
def test_csv_rows_come_back(rows: list[list[str]], quoting: Any) -> None:
    out = io.StringIO()
    csv.writer(out, quoting=quoting, lineterminator="\n").writerows(rows)
    content = out.getvalue().encode()
    reader = CsvReader(TextSettings(), CsvDialect(escape=None), strings, header=False)
    found = list(reader.rows(io.BytesIO(content)))
    assert [list(row.value.values()) for row in found] == rows
    for row in found:
        rest = [later.value for later in reader.rows(io.BytesIO(content), row.position)]
        assert rest == [later.value for later in found if later.position > row.position]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.text(st.sampled_from(list('a{}[],"\\\n')), max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab{"), inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.lists(st.dictionaries(st.sampled_from("ab{"), JSON, max_size=3), max_size=6)


@given(OBJECTS, st.data())
def test_json_documents_come_back(documents: list[Any], data: st.DataObject) -> None:
    texts = [
        orjson.dumps(document, option=data.draw(st.sampled_from([0, orjson.OPT_INDENT_2])))
        for document in documents
    ]
    content = data.draw(st.sampled_from([b"\n", b"\n\n", b" "])).join(texts)
    if data.draw(st.booleans()):
        content = b"[" + b",\n".join(texts) + b"]"
    reader = JsonReader(TextSettings(), parsed=True)
    after = data.draw(st.integers(0, len(documents)))
    assert [row.value for row in reader.rows(io.BytesIO(content), after)] == documents[after:]
