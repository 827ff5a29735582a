"""From a handler's response to kio's class of the version that the client asked for.

A domain class is a dataclass whose fields are named as kio names them, the union of all served
versions: a field that the version lacks is dropped, one that only the version has gets kio's default.
Values pass through unchanged (times are timedeltas, a zero UUID is None, errors are `ErrorCode`);
nested dataclasses, alone or in tuples, are adapted field by field. The field lists are worked out
once per pair of classes. (`decoder.py` is the other direction.)
"""

import dataclasses
import datetime
import typing
from collections.abc import Callable
from typing import Any, TypeVar, cast

from broker.wire.decoder import item_class

W = TypeVar("W")
Convert = Callable[[Any], Any]

_converters: dict[tuple[type, type], Convert] = {}


def to_wire(domain: object, kio_class: type[W]) -> W:
    """The kio object to be written for `domain`."""
    return cast(W, _converter(type(domain), kio_class)(domain))


def _converter(domain_class: type, kio_class: type) -> Convert:
    pair = (domain_class, kio_class)
    if pair not in _converters:
        _converters[pair] = _make_converter(domain_class, kio_class)
    return _converters[pair]


def _make_converter(domain_class: type, kio_class: Any) -> Convert:
    domain_types = typing.get_type_hints(domain_class)
    kio_types = typing.get_type_hints(kio_class)
    plain: list[str] = []
    nested: list[tuple[str, Convert]] = []
    constants: dict[str, Any] = {}
    for field in dataclasses.fields(kio_class):
        name = field.name
        if name not in domain_types:
            if field.default is dataclasses.MISSING:
                constants[name] = _implied(domain_class, kio_class, name)
            continue
        convert = _field_converter(domain_types[name], kio_types[name])
        if convert is None:
            plain.append(name)
        else:
            nested.append((name, convert))

    def convert_object(domain: Any) -> Any:
        values = dict(constants)
        for name in plain:
            values[name] = getattr(domain, name)
        for name, convert in nested:
            values[name] = convert(getattr(domain, name))
        return kio_class(**values)

    return convert_object


def _implied(domain_class: type, kio_class: type, name: str) -> Any:
    if name == "throttle_time":  # every response carries it; no handler throttles by itself
        return datetime.timedelta(0)
    raise TypeError(f"{kio_class.__qualname__}.{name} has no default, {domain_class.__qualname__} lacks it")


def _field_converter(domain_type: Any, kio_type: Any) -> Convert | None:
    domain_item, in_tuple = item_class(domain_type)
    kio_item, _ = item_class(kio_type)
    if domain_item is None or kio_item is None:
        return None
    convert = _converter(domain_item, kio_item)
    if in_tuple:
        return lambda items: None if items is None else tuple(map(convert, items))
    return lambda item: None if item is None else convert(item)
