"""Transforms, predicates, converters and config providers of our own pass the kit that authors run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from connect.api import ConnectRecord, Header, SinkRecord
from connect.api.schemas import BYTES, FLOAT64, INT64, STRING, array, map_of, struct
from connect.converters.bytes import ByteArrayConverter
from connect.converters.header import SimpleHeaderConverter
from connect.converters.json import JsonConverter
from connect.converters.primitives import IntegerConverter, LongConverter
from connect.converters.string import StringConverter
from connect.runtime.config_providers import (
    DirectoryConfigProvider,
    EnvVarConfigProvider,
    FileConfigProvider,
)
from connect.testing.conformance import (
    ConfigProviderTests,
    ConverterTests,
    HeaderConverterTests,
    PredicateTests,
    TransformTests,
)
from connect.transforms.cast import CastValue
from connect.transforms.drop_headers import DropHeaders
from connect.transforms.extract_field import ExtractFieldValue
from connect.transforms.filter import Filter
from connect.transforms.flatten import FlattenValue
from connect.transforms.header_from import HeaderFromValue
from connect.transforms.hoist_field import HoistFieldValue
from connect.transforms.insert_field import InsertFieldValue
from connect.transforms.insert_header import InsertHeader
from connect.transforms.mask_field import MaskFieldValue
from connect.transforms.predicates import HasHeaderKey, RecordIsTombstone, TopicNameMatches
from connect.transforms.regex_router import RegexRouter
from connect.transforms.replace_field import ReplaceFieldValue
from connect.transforms.timestamp_router import TimestampRouter
from connect.transforms.value_to_key import ValueToKey

TRANSFORMS: list[tuple[type[Any], Mapping[str, str]]] = [
    (CastValue, {"spec": "id:string"}),
    (DropHeaders, {"headers": "source"}),
    (ExtractFieldValue, {"field": "name"}),
    (Filter, {}),
    (FlattenValue, {}),
    (HeaderFromValue, {"fields": "id", "headers": "id", "operation": "move"}),
    (HoistFieldValue, {"field": "row"}),
    (InsertFieldValue, {"static.field": "at", "static.value": "here"}),
    (InsertHeader, {"header": "h", "value.literal": "1"}),
    (MaskFieldValue, {"fields": "name"}),
    (RegexRouter, {"regex": "con(.*)", "replacement": "$1"}),
    (ReplaceFieldValue, {"renames": "id:number"}),
    (TimestampRouter, {}),
    (ValueToKey, {"fields": "id"}),
]


def _kit(plugin: type[Any], settings: Mapping[str, str]) -> type[TransformTests]:
    class Kit(TransformTests):
        @pytest.fixture
        def properties(self) -> Mapping[str, str]:
            return settings

    Kit.plugin = plugin
    return Kit


# A class per transform, as an author would write it.
globals().update({f"Test{plugin.__name__}": _kit(plugin, settings) for plugin, settings in TRANSFORMS})


class _PredicateKit(PredicateTests):
    @pytest.fixture
    def told_apart(self, records: Sequence[ConnectRecord]) -> tuple[ConnectRecord, ConnectRecord]:
        return records[0], records[1]


class TestHasHeaderKey(_PredicateKit):
    plugin = HasHeaderKey

    @pytest.fixture
    def properties(self) -> Mapping[str, str]:
        return {"name": "source"}


class TestTopicNameMatches(_PredicateKit):
    plugin = TopicNameMatches

    @pytest.fixture
    def properties(self) -> Mapping[str, str]:
        return {"pattern": "conf.*"}

    @pytest.fixture
    def told_apart(self, records: Sequence[ConnectRecord]) -> tuple[ConnectRecord, ConnectRecord]:
        return records[0], records[0].replace(topic="other")


class TestRecordIsTombstone(_PredicateKit):
    plugin = RecordIsTombstone

    @pytest.fixture
    def told_apart(self, records: Sequence[ConnectRecord]) -> tuple[ConnectRecord, ConnectRecord]:
        return SinkRecord("t", 0, 0, None), records[0]


class TestJsonConverter(ConverterTests):
    plugin = JsonConverter
    values = (
        (None, {"a": [1, None, "x"]}),
        (struct({"a": INT64, "b": array(STRING)}), {"a": 1, "b": ["x"]}),
        (map_of(STRING, FLOAT64), {"k": 0.5}),
        (BYTES, b"\x00\xff"),
    )
    refused_bytes = (b"{", b"{}", b"\xff")
    refused_values = ((INT64, "text"), (struct({"a": INT64}), {"a": None}))


class TestStringConverter(ConverterTests):
    plugin = StringConverter
    values = ((STRING, "äöü"), (None, "text"))


class TestByteArrayConverter(ConverterTests):
    plugin = ByteArrayConverter
    values = ((BYTES, b"\x00\xff"), (None, b""))
    refused_values = ((STRING, "text"),)


class TestIntegerConverter(ConverterTests):
    plugin = IntegerConverter
    values = ((None, -1),)
    refused_bytes = (b"123", b"")
    refused_values = ((None, "1"),)


class TestLongConverter(ConverterTests):
    plugin = LongConverter
    values = ((INT64, 1 << 40),)
    refused_bytes = (b"1234",)


class TestSimpleHeaderConverter(HeaderConverterTests):
    plugin = SimpleHeaderConverter
    headers = (Header("a", STRING, "text"), Header("b", INT64, 1 << 40), Header("c", None, True))


class TestFileConfigProvider(ConfigProviderTests):
    plugin = FileConfigProvider

    @pytest.fixture
    def known(self, tmp_path: Path) -> tuple[str, str, str]:
        (tmp_path / "secrets.properties").write_text("password=p4ss\n")
        return str(tmp_path / "secrets.properties"), "password", "p4ss"


class TestDirectoryConfigProvider(ConfigProviderTests):
    plugin = DirectoryConfigProvider

    @pytest.fixture
    def known(self, tmp_path: Path) -> tuple[str, str, str]:
        (tmp_path / "password").write_text("p4ss")
        return str(tmp_path), "password", "p4ss"


class TestEnvVarConfigProvider(ConfigProviderTests):
    plugin = EnvVarConfigProvider

    @pytest.fixture
    def known(self, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str, str]:
        monkeypatch.setenv("MILLSTREAM_TEST_SECRET", "p4ss")
        return "", "MILLSTREAM_TEST_SECRET", "p4ss"
