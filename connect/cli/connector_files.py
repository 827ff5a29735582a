"""Connector configs in files: `{"name": …, "config": {…}}` or the bare config as JSON, or .properties."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from connect.api import ConfigError
from connect.rest.bodies import ConnectorConfig, CreateConnector, explain
from connect.runtime.service import TargetState
from connect.runtime.worker_settings import read_properties


class BadFile(Exception):
    """The file is no connector config; the text says why."""


@dataclass(frozen=True, slots=True)
class ConnectorFile:
    """`config` has the name in it, as the worker stores it."""

    name: str
    config: dict[str, str]
    initial_state: TargetState


def read_connector(path: Path) -> ConnectorFile:
    """The connector in a file; a bare config is named by its `name`, else after the file."""
    if path.suffix == ".properties":
        try:
            document: Any = read_properties(path)
        except ConfigError as exc:
            raise BadFile(str(exc)) from None
    else:
        document = _read_json(path)
    try:
        return _connector(document, path.stem)
    except ValidationError as exc:
        raise BadFile(f"{path}: {explain(exc.errors(), 'the document')}") from None


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise BadFile(f"{path} cannot be read: {exc.strerror}") from None
    except ValueError as exc:
        raise BadFile(f"{path} is not JSON: {exc}") from None


def _connector(document: Any, default_name: str) -> ConnectorFile:
    if isinstance(document, dict) and isinstance(document.get("config"), dict):
        wrapped = CreateConnector.model_validate(document)
        config, initial_state = wrapped.config.given(), wrapped.initial_state
        name = (wrapped.name or config.get("name") or default_name).strip()
    else:
        config, initial_state = ConnectorConfig.model_validate(document).given(), TargetState.STARTED
        name = config.get("name", default_name).strip()
    return ConnectorFile(name, {**config, "name": name}, initial_state)
