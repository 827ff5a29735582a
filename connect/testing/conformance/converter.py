"""What the runtime relies on in converters of keys and values, and of headers."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pytest

from connect.api import Converter, DataError, Header, HeaderConverter, Schema
from connect.testing.conformance.plugin import PluginTests, expect_configure_refuses
from connect.testing.conformance.values import plain


class ConverterTests(PluginTests):
    """`values` are (schema, value) that it takes and gives back; `refused_bytes` and `refused_values` are
    what it cannot read and write."""

    plugin: ClassVar[type[Converter]]
    values: ClassVar[Sequence[tuple[Schema | None, Any]]] = ()
    refused_bytes: ClassVar[Sequence[bytes]] = ()
    refused_values: ClassVar[Sequence[tuple[Schema | None, Any]]] = ()

    @pytest.fixture(params=[True, False], ids=["keys", "values"])
    def converter(self, properties: Mapping[str, str], request: pytest.FixtureRequest) -> Converter:
        """The converter, configured for keys or for values."""
        converter = self.plugin()
        converter.configure(properties, request.param)
        return converter

    def test_values_come_back(self, converter: Converter) -> None:
        assert self.values, f"{type(self).__name__} needs `values`: (schema, value) that it can write"
        for schema, value in self.values:
            data = converter.from_connect("conformance", schema, value)
            assert isinstance(data, bytes)
            assert plain(converter.to_connect("conformance", data).value) == value

    def test_tombstones_stay_tombstones(self, converter: Converter) -> None:
        assert converter.from_connect("conformance", None, None) is None
        assert converter.to_connect("conformance", None).value is None

    def test_what_it_cannot_read_or_write_is_a_data_error(self, converter: Converter) -> None:
        """So that `errors.tolerance` can skip it; any other error would stop the task for good."""
        for data in self.refused_bytes:
            with pytest.raises(DataError):
                plain(converter.to_connect("conformance", data).value)
        for schema, value in self.refused_values:
            with pytest.raises(DataError):
                converter.from_connect("conformance", schema, value)

    def test_it_refuses_wrong_settings(self, properties: Mapping[str, str]) -> None:
        expect_configure_refuses(self.plugin, properties, False)


class HeaderConverterTests(PluginTests):
    """`headers` are what it takes and gives back; `refused_bytes` and `refused_headers` what it cannot read
    and write."""

    plugin: ClassVar[type[HeaderConverter]]
    headers: ClassVar[Sequence[Header]] = ()
    refused_bytes: ClassVar[Sequence[bytes]] = ()
    refused_headers: ClassVar[Sequence[Header]] = ()

    @pytest.fixture
    def converter(self, properties: Mapping[str, str]) -> HeaderConverter:
        """The converter, configured."""
        converter = self.plugin()
        converter.configure(properties)
        return converter

    def test_headers_come_back(self, converter: HeaderConverter) -> None:
        assert self.headers, f"{type(self).__name__} needs `headers` that it can write"
        for header in self.headers:
            data = converter.from_connect_header("conformance", header)
            assert isinstance(data, bytes)
            back = converter.to_connect_header("conformance", header.name, data)
            assert (back.name, plain(back.value)) == (header.name, header.value)

    def test_null_stays_null(self, converter: HeaderConverter) -> None:
        assert converter.from_connect_header("conformance", Header("name", None, None)) is None
        back = converter.to_connect_header("conformance", "name", None)
        assert (back.name, back.value) == ("name", None)

    def test_what_it_cannot_read_or_write_is_a_data_error(self, converter: HeaderConverter) -> None:
        for data in self.refused_bytes:
            with pytest.raises(DataError):
                plain(converter.to_connect_header("conformance", "name", data).value)
        for header in self.refused_headers:
            with pytest.raises(DataError):
                converter.from_connect_header("conformance", header)

    def test_it_refuses_wrong_settings(self, properties: Mapping[str, str]) -> None:
        expect_configure_refuses(self.plugin, properties)
