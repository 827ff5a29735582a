"""Checks of settings that several of the S3 connectors have."""

from base64 import b64decode
from collections.abc import Callable, Iterable

from pydantic import SecretStr

from connect.api import ConfigError, FieldError
from connect.api.java_patterns import time_zone
from connectors.s3.access import HTTP


def one_of(*choices: str) -> Callable[[str | None], str | None]:
    """A check for one of these, in any case."""
    lowered = {choice.lower() for choice in choices}

    def check(value: str | None) -> str | None:
        return None if (value or "").lower() in lowered else f"Value must be one of: {', '.join(choices)}"

    return check


def class_named(name: str, classes: Iterable[str]) -> str | None:
    """The one of `classes` that is meant: by its full name, its simple name, or that without its suffix."""
    for full in classes:
        simple = full.rpartition(".")[2]
        short = simple.removesuffix("Format").removesuffix("Partitioner")
        if name in (full, simple) or name.lower() == short.lower():
            return full
    return None


def url_error(value: str | None) -> str | None:
    """What is wrong with the URL of an endpoint or a proxy."""
    return None if not value or value.startswith(HTTP) else "The URL must begin with http:// or https://"


def zone_error(value: str) -> str | None:
    """What is wrong with a time zone."""
    try:
        if value:
            time_zone(value)
    except ValueError as exc:
        return str(exc)
    return None


def customer_key_error(value: str) -> str | None:
    """What is wrong with a key of the customer's."""
    try:
        key = b64decode(value, validate=True)
    except ValueError:
        key = b"?"
    return None if len(key) in (0, 32) else "The key must be base64 of 32 bytes"


def key_pair_errors(key_id: str | None, secret: str | None) -> Iterable[FieldError]:
    """Of an access key, both halves are needed."""
    if bool(key_id) != bool(secret):
        missing = "aws.secret.access.key" if key_id else "aws.access.key.id"
        yield FieldError(missing, "Set both aws.access.key.id and aws.secret.access.key, or neither")


def revealed(secret: SecretStr | None) -> str | None:
    """The secret's text; None where it is empty too."""
    return secret.get_secret_value() or None if secret is not None else None


def invalid(name: str, value: object, why: str) -> FieldError:
    """That a setting's value cannot be."""
    return FieldError(name, str(ConfigError.invalid(name, value, why)))
