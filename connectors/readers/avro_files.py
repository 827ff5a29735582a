"""Avro object container files, with Connect schemas of their Avro schemas.

The properties that Confluent's AvroData writes (`connect.name`, `connect.type`, …) are understood, so that
what a sink wrote comes back as it was.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, BinaryIO, Final, NamedTuple

from connect.api import DataError, Schema, SchemaType
from connect.api.decimals import decimal_from_bytes, scale_of
from connect.api.schemas import DATE, DECIMAL, STRING, TIME, TIMESTAMP, array, map_of, struct
from connectors.readers.numbers import Convert, each, each_of_map, members, or_null, plain_number
from connectors.readers.rows import Row

_PRIMITIVES: Final[Mapping[str, SchemaType]] = {
    "int": SchemaType.INT32, "long": SchemaType.INT64, "float": SchemaType.FLOAT32,
    "double": SchemaType.FLOAT64, "boolean": SchemaType.BOOLEAN, "string": SchemaType.STRING,
    "bytes": SchemaType.BYTES, "fixed": SchemaType.BYTES, "enum": SchemaType.STRING,
}  # fmt: skip
# Microseconds have no logical type in Connect: they become plain numbers.
_LOGICAL: Final[Mapping[str, str]] = {
    "date": DATE, "time-millis": TIME, "timestamp-millis": TIMESTAMP, "decimal": DECIMAL,
}  # fmt: skip
_MADE_UP_NAMES: Final = "io.confluent.connect.avro."  # AvroData's, where Connect has no name


class AvroReader:
    """Each record is a row; positions count records."""

    def rows(self, stream: BinaryIO, after: int = 0) -> Iterator[Row]:
        import fastavro  # loaded by those who need it

        number = 0
        try:
            found = fastavro.reader(stream)
            form = _Translation().form_of(found.writer_schema, "")
            convert = form.convert
            for number, value in enumerate(found, 1):
                if number > after:
                    yield Row(number, value if convert is None else convert(value), form.schema)
        except DataError:
            raise
        except OSError as exc:
            if exc.errno is not None:
                raise
            raise DataError(f"behind record {number}: {exc}") from exc
        except Exception as exc:  # whatever damaged bytes lead the decoder to
            why = str(exc) or type(exc).__name__
            raise DataError(f"behind record {number}: no valid Avro container: {why}") from exc


def schema_of_avro(avro: Any) -> Schema:
    """The Connect schema of an Avro schema as parsed JSON; raises `DataError` where there is none."""
    return _Translation().form_of(avro, "").schema


class _Form(NamedTuple):
    """What a type is in Connect, and what makes Connect's value of the decoder's; None: it is the same."""

    schema: Schema
    convert: Convert | None = None


class _Translation:
    """One Avro schema."""

    def __init__(self) -> None:
        self._named: dict[str, _Form | None] = {}

    def form_of(self, avro: Any, namespace: str) -> _Form:
        if isinstance(avro, list):
            return self._union(avro, namespace)
        if isinstance(avro, str):
            avro = {"type": avro}
        kind = avro["type"]
        if not isinstance(kind, str):
            return self.form_of(kind, namespace)
        if kind == "record" or kind == "error":
            return self._record(avro, namespace)
        if kind == "array":
            item = self.form_of(avro["items"], namespace)
            return _Form(_described(array(item.schema), avro), each(item.convert))
        if kind == "map":
            value = self.form_of(avro["values"], namespace)
            return _Form(_described(map_of(STRING, value.schema), avro), each_of_map(value.convert))
        if kind in _PRIMITIVES:
            return self._remember(avro, namespace, _primitive(avro, kind))
        return self._reference(kind, namespace)

    def _union(self, branches: list[Any], namespace: str) -> _Form:
        others = [branch for branch in branches if branch != "null"]
        if len(others) != 1:
            names = [branch if isinstance(branch, str) else branch.get("type") for branch in branches]
            raise DataError(f"a union of {names} has no type in Kafka Connect: only null and one other has")
        form = self.form_of(others[0], namespace)
        if len(others) == len(branches):
            return form
        return _Form(form.schema.as_optional(), or_null(form.convert))

    def _record(self, avro: Mapping[str, Any], namespace: str) -> _Form:
        name = _full_name(avro, namespace)
        self._named[name] = None  # until it is known what it is
        inside = name.rpartition(".")[0]
        forms = {field["name"]: self.form_of(field["type"], inside) for field in avro["fields"]}
        shown = None if name.startswith(_MADE_UP_NAMES) else name
        schema = struct({field: form.schema for field, form in forms.items()}, name=shown)
        form = _Form(
            _described(schema, avro),
            members({field: form.convert for field, form in forms.items() if form.convert is not None}),
        )
        self._named[name] = form
        return form

    def _remember(self, avro: Mapping[str, Any], namespace: str, form: _Form) -> _Form:
        if "name" in avro:
            self._named[_full_name(avro, namespace)] = form
        return form

    def _reference(self, name: str, namespace: str) -> _Form:
        full = name if "." in name or not namespace else f"{namespace}.{name}"
        full = full if full in self._named else name
        if full not in self._named:
            raise DataError(f"the Avro schema has a type {name} that it does not say what it is")
        form = self._named[full]
        if form is None:
            raise DataError(f"the Avro type {name} holds itself, which schemas of Kafka Connect cannot say")
        return form


def _full_name(avro: Mapping[str, Any], namespace: str) -> str:
    name: str = avro["name"]
    inside = avro.get("namespace", namespace)
    return name if "." in name or not inside else f"{inside}.{name}"


def _primitive(avro: Mapping[str, Any], kind: str) -> _Form:
    stored = avro.get("connect.type")
    schema = Schema(SchemaType(stored) if stored in ("int8", "int16") else _PRIMITIVES[kind])
    logical = avro.get("logicalType")
    name = _LOGICAL.get(logical) if isinstance(logical, str) else None
    if name is not None:
        parameters = {"scale": str(avro.get("scale", 0))} if name == DECIMAL else {}
        if name == DECIMAL and "precision" in avro:
            parameters["connect.decimal.precision"] = str(avro["precision"])
        schema = replace(schema, name=name, version=1, parameters=parameters)
    convert = plain_number(logical) if isinstance(logical, str) and name != DECIMAL else None
    return _Form(_described(schema, avro), convert)


def _described(schema: Schema, avro: Mapping[str, Any]) -> Schema:
    """With the properties that AvroData writes."""
    described = replace(
        schema,
        name=avro.get("connect.name", schema.name),
        version=avro.get("connect.version", schema.version),
        doc=avro.get("connect.doc", schema.doc),
        parameters=avro.get("connect.parameters", schema.parameters),
    )
    if (default := avro.get("connect.default")) is None:
        return described
    try:
        return replace(described, default=_default(described, default))
    except (AttributeError, KeyError, TypeError, ValueError) as exc:
        raise DataError(f"connect.default is {default!r}, which is no {described.type.value}") from exc


def _default(schema: Schema, value: Any) -> Any:
    """A default as Connect has it, from Avro's JSON, where bytes are text of ISO 8859-1."""
    if value is None:
        return None
    if schema.type is SchemaType.BYTES:
        data = value.encode("latin-1")
        if schema.name != DECIMAL:
            return data
        return decimal_from_bytes(data, scale_of(schema))
    if schema.type in (SchemaType.FLOAT32, SchemaType.FLOAT64):
        return float(value)
    if schema.type is SchemaType.STRUCT:
        return {field.name: _default(field.schema, value[field.name]) for field in schema.fields}
    if schema.type is SchemaType.ARRAY and schema.value_schema is not None:
        return [_default(schema.value_schema, item) for item in value]
    if schema.type is SchemaType.MAP and schema.value_schema is not None:
        return {name: _default(schema.value_schema, item) for name, item in value.items()}
    return value
