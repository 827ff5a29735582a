"""Request bodies. A field that is wrong is named in the answer."""

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, RootModel

from connect.runtime.service import Offsets, TargetState


def _as_text(value: Any) -> Any:
    """Numbers and booleans are taken for their text, as Jackson does for Connect."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    kind = "an object" if isinstance(value, dict) else "a list"
    raise ValueError(f"must be a string, a number, true, false or null, not {kind}")


def _as_target_state(value: Any) -> Any:
    if value is None:
        return TargetState.STARTED
    try:
        return _INITIAL_STATES[str(value).upper()]
    except KeyError:
        raise ValueError(f"must be RUNNING, PAUSED or STOPPED, not {value!r}") from None


_INITIAL_STATES = {
    "RUNNING": TargetState.STARTED,
    "PAUSED": TargetState.PAUSED,
    "STOPPED": TargetState.STOPPED,
}

Text = Annotated[str | None, BeforeValidator(_as_text)]


class ConnectorConfig(RootModel[dict[str, Text]]):
    """The settings of a connector; null stands for a setting that is not there."""

    def given(self) -> dict[str, str]:
        return {name: value for name, value in self.root.items() if value is not None}


class ConfigPatch(RootModel[dict[str, Text]]):
    """Settings to change; null removes one (KIP-477)."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CreateConnector(_Strict):
    name: Text = None
    config: ConnectorConfig
    initial_state: Annotated[TargetState, BeforeValidator(_as_target_state)] = TargetState.STARTED


class PartitionOffset(_Strict):
    """`offset` null or left out resets the partition."""

    partition: dict[str, Any] | None = None
    offset: dict[str, Any] | None = None


class ConnectorOffsets(_Strict):
    """Offsets to set (KIP-875)."""

    offsets: list[PartitionOffset] | None = None

    def checked(self) -> Offsets:
        """The offsets as the worker takes them; raises ValueError for what may not be left out."""
        if not self.offsets:
            raise ValueError("Partitions / offsets need to be provided for an alter offsets request")
        if any(item.partition is None for item in self.offsets):
            raise ValueError("Partition objects cannot be null")
        return [(item.partition or {}, item.offset) for item in self.offsets]


class LoggerLevel(BaseModel):
    level: Text = None


def explain(problems: Iterable[Any], document: str = "The request body") -> str:
    """Sentences for pydantic's errors, each with the field first, or with the document as a whole."""
    return "; ".join(dict.fromkeys(_sentence(problem, document) for problem in problems))


def _sentence(problem: Any, document: str) -> str:
    where = _field(problem["loc"])
    match problem["type"]:
        case "json_invalid":
            return f"{document} is not JSON: {problem['ctx']['error']} at character {problem['loc'][-1]}"
        case "missing":
            return f"{where} is missing" if where else f"{document} is empty: send JSON"
        case "extra_forbidden":
            return f"{where} is not a known field"
        case "value_error":
            return f"{where} {problem['msg'].removeprefix('Value error, ')}"
        case "dict_type" | "model_type" | "model_attributes_type":
            return f"{where or document} must be a JSON object"
        case "list_type":
            return f"{where or document} must be a JSON list"
    return f"{where or document}: {problem['msg']}"


def _field(loc: Iterable[str | int]) -> str:
    """`offsets[0].partition` for ("body", "offsets", 0, "partition")."""
    path = ""
    for part in loc:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part not in ("body", "query", "path"):
            path += f".{part}" if path else part
    return path
