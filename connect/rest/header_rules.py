"""`response.http.headers.config`: headers that every answer gets (KIP-577)."""

import csv
import time
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import formatdate
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from connect.api import ConfigError

_SETTING: Final = "response.http.headers.config"
_ACTIONS: Final = ("set", "add", "setDate", "addDate")


@dataclass(frozen=True, slots=True)
class HeaderRule:
    """`value` of a date is how many milliseconds from now it is."""

    action: str
    name: str
    value: str

    def apply(self, headers: MutableHeaders) -> None:
        value = self.value
        if self.action.endswith("Date"):
            value = formatdate(time.time() + int(value) / 1000, usegmt=True)
        if self.action.startswith("set"):
            headers[self.name] = value
        else:
            headers.append(self.name, value)


def header_rules(text: str) -> list[HeaderRule]:
    """Rules `[action] [header name]:[header value]`, separated by commas; one with a comma inside stands in
    double quotes. Raises `ConfigError` in Kafka's words."""
    rows = csv.reader([text], skipinitialspace=True)
    return [_rule(rule) for row in rows for rule in row if rule.strip()]


def check_header_rules(text: str) -> str | None:
    """What is wrong with them, if anything is."""
    try:
        header_rules(text)
    except ConfigError as exc:
        return str(exc)
    return None


def _rule(text: str) -> HeaderRule:
    action, _, pair = text.strip().partition(" ")
    name, colon, value = (part.strip() for part in pair.partition(":"))
    if not pair:
        raise ConfigError(
            f"Invalid format of header config '{text}'. Expected: '[action] [header name]:[header value]'"
        )
    if action not in _ACTIONS:
        raise ConfigError(
            f"Invalid header config action: '{action}'. Expected one of [{', '.join(_ACTIONS)}]"
        )
    if not colon:
        raise ConfigError(
            f"Invalid format of header name and header value pair '{pair}'. "
            "Expected: '[header name]:[header value]'"
        )
    if not name or len(name.split()) != 1:
        raise ConfigError(f"Invalid header name '{name}'. The '[header name]' cannot contain whitespace")
    if not (name + value).isascii():
        raise ConfigError(f"Invalid header config '{text}'. Only ASCII can be sent in a header")
    if action.endswith("Date") and not value.removeprefix("-").isdecimal():
        raise ConfigError(
            f"Invalid header value '{value}' of {action}: write how many milliseconds from now the date is"
        )
    return HeaderRule(action, name, value)


class AddHeaders:
    """Applies the rules to every answer."""

    def __init__(self, app: ASGIApp, rules: Sequence[HeaderRule]) -> None:
        self.app = app
        self.rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for rule in self.rules:
                    rule.apply(headers)
            await send(message)

        await self.app(scope, receive, with_headers)
