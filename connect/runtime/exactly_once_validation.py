"""What exactly-once delivery asks of a source connector's config (KIP-618), in Connect's words."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from connect.api import Config, FieldError, SourceConnector
from connect.runtime.client_overrides import ignored_overrides, overrides
from connect.runtime.config import WorkerConfig

_DOES_NOT_SAY: Final = (
    "The connector does not implement the API required for preflight validation of exactly-once source "
    "support. Please consult the documentation for the connector to determine whether it supports "
    "exactly-once semantics, and then consider reconfiguring the connector to use the value "
    '"requested" for this property '
    "(which will disable this preflight check and allow the connector to be created)."
)
_UNSUPPORTED: Final = "The connector does not support exactly-once semantics with the provided configuration."
_NO_BOUNDARIES: Final = (
    "The connector does not support connector-defined transaction boundaries with the given configuration. "
    "Please reconfigure it to use a different transaction boundary definition."
)
_WHERE_IGNORED: Final = ("producer", "consumer")

Properties = Mapping[str, str | None]


def exactly_once_errors(
    worker: WorkerConfig, connector: SourceConnector[Any], config: Config | None, properties: Properties
) -> Iterator[FieldError]:
    """`config` is the connector's own, None if it has errors: then the connector cannot be asked yet."""
    if (properties.get("exactly.once.support") or "").lower() == "required":
        setting = "exactly.once.support"
        if not worker.exactly_once:
            yield FieldError(setting, "This worker does not have exactly-once source support enabled.")
        if config is not None:
            answer = _ask(connector.exactly_once_support, config)
            if answer is not True:
                why = answer if isinstance(answer, str) else _DOES_NOT_SAY if answer is None else _UNSUPPORTED
                yield FieldError(setting, why)
    if (properties.get("transaction.boundary") or "").lower() == "connector" and config is not None:
        answer = _ask(connector.can_define_transaction_boundaries, config)
        if answer is not True:
            yield FieldError("transaction.boundary", answer if isinstance(answer, str) else _NO_BOUNDARIES)


def exactly_once_warnings(worker: WorkerConfig, name: str, properties: Properties) -> Iterator[str]:
    """Overrides that have no effect."""
    if worker.exactly_once:
        for kind in _WHERE_IGNORED:
            given = overrides(kind, properties)
            for setting, why in ignored_overrides(worker, name, 0, kind, properties).items():
                if setting in given:
                    yield f"{kind}.override.{setting}: {why}"


def _ask(question: Callable[[Config], bool | None], config: Config) -> bool | str | None:
    """The connector's answer, or why there is none."""
    try:
        return question(config)
    except Exception as exc:  # noqa: BLE001 - a plugin may raise anything
        return f"An unexpected error occurred during validation: {str(exc).strip() or type(exc).__name__}"
