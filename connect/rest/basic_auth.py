"""Basic auth for REST, set up as Kafka Connect's `BasicAuthSecurityRestExtension` is."""

import base64
import binascii
import hmac
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import javaproperties
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from connect.api import ConfigError
from connect.rest.responses import error
from connect.rest.settings import RestSettings

EXTENSION: Final = "org.apache.kafka.connect.rest.basic.auth.extension.BasicAuthSecurityRestExtension"
_FILE_SETTING: Final = "millstream.rest.basic.auth.file"
# How Java workers are told of their JAAS file: in KAFKA_OPTS.
_JAAS_OPTION: Final = re.compile(r"-Djava\.security\.auth\.login\.config=(\"[^\"]*\"|\S+)")
_JAAS_ENTRY: Final = re.compile(r"\bKafkaConnect\s*\{([^}]*)\}")
_JAAS_FILE: Final = re.compile(r"\bPropertyFileLoginModule\b[^;]*?\bfile\s*=\s*\"([^\"]*)\"")
_CHALLENGE: Final = {"WWW-Authenticate": 'Basic realm="Millstream worker", charset="UTF-8"'}


def credentials(settings: RestSettings, environment: Mapping[str, str] = os.environ) -> dict[str, str] | None:
    """Passwords by user, None if anybody may call. Raises `ConfigError` for what would leave REST open
    although it is meant to be closed."""
    for extension in settings.rest_extension_classes:
        if extension != EXTENSION:
            raise ConfigError.invalid(
                "rest.extension.classes", extension, f"Only {EXTENSION} is known, which is built in"
            )
    if settings.basic_auth_file is None and not settings.rest_extension_classes:
        return None
    return _read(settings.basic_auth_file or _file_of_jaas(environment.get("KAFKA_OPTS", "")))


def authorization(passwords: Mapping[str, str] | None) -> str | None:
    """The header by which a worker names itself to others: as the first of the users that they all know."""
    for user, password in (passwords or {}).items():
        return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    return None


def _file_of_jaas(kafka_opts: str) -> str:
    """The credentials file that the JAAS file of a Java worker names."""
    option = _JAAS_OPTION.search(kafka_opts)
    if option is None:
        raise ConfigError(
            f"rest.extension.classes asks for basic auth, but no users are known: set {_FILE_SETTING} to a "
            "properties file with lines user=password, or KAFKA_OPTS to "
            "-Djava.security.auth.login.config=FILE as for a Java worker"
        )
    path = option[1].strip('"')
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"the JAAS file {path} that KAFKA_OPTS names cannot be read: {exc}") from None
    entry = _JAAS_ENTRY.search(re.sub(r"(?m)^\s*//.*$", "", text))
    file = entry and _JAAS_FILE.search(entry[1])
    if not file:
        raise ConfigError(
            f"the JAAS file {path} has no entry KafkaConnect with a PropertyFileLoginModule and its file"
        )
    return str(file[1])


def _read(path: str) -> dict[str, str]:
    try:
        found = javaproperties.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as exc:
        raise ConfigError(f"{_FILE_SETTING}: {path} cannot be read: {exc}") from None
    except ValueError:  # whose text may hold a part of a password
        raise ConfigError(f"{_FILE_SETTING}: {path} is no properties file in UTF-8") from None
    if not found:
        raise ConfigError(f"{_FILE_SETTING}: {path} names no user: write lines user=password")
    return dict(found)


class BasicAuth:
    """401 for a request that names no user, or one with another password."""

    def __init__(self, app: ASGIApp, passwords: Mapping[str, str]) -> None:
        self.app = app
        self._known = {user.encode(): password.encode() for user, password in passwords.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._is_known(Headers(scope=scope).get("authorization", "")):
            await error(401, "User cannot access the resource.", _CHALLENGE)(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _is_known(self, authorization: str) -> bool:
        scheme, _, encoded = authorization.partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            user, _, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
        except (binascii.Error, ValueError):
            return False
        # An unknown user takes as long as a wrong password.
        matches = hmac.compare_digest(password, self._known.get(user, b""))
        return matches and user in self._known
