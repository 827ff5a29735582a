"""Replaying a recorded story of REST calls against a running worker, and comparing the answers."""

import json
import re
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from connect.version import __version__

GOLDEN = Path(__file__).parents[1] / "golden" / "rest"
SETTLE_SECONDS = 60.0
POLL_SECONDS = 0.05

# Values that differ from worker to worker and from run to run.
_VOLATILE = {"worker_id", "kafka_cluster_id", "commit", "version", "last_modified"}
_VERSIONS = {"4.3.1", __version__}
# Lists whose order means nothing.
_SETS = {"offsets", "topics", "recommended_values", "errors", "groups"}
# Documentation is in our own words; Connect has no warnings, metrics of tasks and restart budgets.
_NOT_COMPARED = {"documentation", "warnings", "metrics", "restarts"}
# Plugins that only one of the two has installed.
_ONLY_ONE_HAS = re.compile(
    r"org\.apache\.kafka\.connect\.mirror\..*|io\.(?:confluent|aiven|millstream|streamthoughts)\..*"
    r"|com\.github\.jcustenborder\..*"
    r"|io\.debezium\.(transforms|converters|connector\.postgresql\.transforms)\..*"
)
# Kafka's converters are told their role by a setting that no user writes; here by an argument.
_CONVERTER_TYPE = re.compile(r"(key|value|header)\.converter\.converter\.type|converter\.type")


@dataclass(frozen=True)
class Difference:
    """One call that was answered otherwise than by the Java worker."""

    call: str
    expected: Any
    got: Any

    def __str__(self) -> str:
        return f"{self.call}\n    Java: {_short(self.expected)}\n    ours: {_short(self.got)}"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 1500 else text[:1500] + "…"


def story(name: str) -> list[dict[str, Any]]:
    """The calls of a recorded story."""
    calls: list[dict[str, Any]] = json.loads((GOLDEN / f"{name}.json").read_text())["calls"]
    return calls


def replay(
    calls: list[dict[str, Any]],
    client: httpx.Client,
    before: Mapping[int, Callable[[], None]],
    intended: Collection[int],
) -> dict[int, Difference]:
    """Make the calls in order; the differences by the number of the call.

    `before` holds what must happen before a call. A GET is repeated until its answer is as recorded, or, for
    those in `intended`, until it is another: the recording holds settled answers, and so must we compare.
    """
    found = {}
    for call in calls:
        number = call["n"]
        if number in before:
            before[number]()
        deadline = time.monotonic() + (SETTLE_SECONDS if call["method"] == "GET" else 0)
        difference = _make(call, client)
        while (difference is not None) is not (number in intended) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
            difference = _make(call, client)
        if difference is not None:
            found[number] = difference
    return found


def _make(call: dict[str, Any], client: httpx.Client) -> Difference | None:
    body = call["body"]
    response = client.request(
        call["method"],
        call["path"],
        headers=call["request_headers"],
        content=None if body is None else body.encode(),
    )
    got = [response.status_code, normal(response.json()) if response.content else None]
    expected = [call["status"], normal(call["response"])]
    for header, value in call.get("headers", {}).items():
        expected.append(_header(header, value))
        got.append(_header(header, response.headers.get(header)))
    if got == expected:
        return None
    name = f"#{call['n']} {call['method']} {call['path']} {call.get('note') or ''}".strip()
    return Difference(f"{name} {(body or '')[:300]}", expected, got)


def _header(name: str, value: str | None) -> Any:
    if value is None:
        return None
    if name == "allow":
        return sorted(value.split(","))
    return re.sub(r"http://[^/]*", "", value)  # location


def normal(node: Any, key: str | None = None) -> Any:
    """The answer without what varies by nature."""
    if isinstance(node, dict):
        if set(node) == {"error_code", "message"}:
            return {"error_code": node["error_code"], "message": _message(node["message"])}
        return {
            name: _field(name, value) for name, value in sorted(node.items()) if name not in _NOT_COMPARED
        }
    if isinstance(node, list):
        items = [normal(item) for item in node if not _is_left_out(item)]
        if key in _SETS or _is_plugin_list(items) or all(isinstance(item, str) for item in items):
            items.sort(key=json.dumps)
        return _overrides_in_order(items) if key == "configs" else items
    return "<version>" if isinstance(node, str) and node in _VERSIONS else node


def _field(name: str, value: Any) -> Any:
    if name in _VOLATILE:
        return "<volatile>"
    if name == "trace" and value:
        # The stack differs, and our file sink says what the system said.
        return value.split("\n")[0].removesuffix(": No such file or directory")
    return normal(value, name)


def _overrides_in_order(rows: list[Any]) -> list[Any]:
    """Those of one client come out of a hash in Java."""
    places = [place for place, row in enumerate(rows) if ".override." in row["value"]["name"]]
    in_order = sorted((rows[place] for place in places), key=json.dumps)
    for place, row in zip(places, in_order, strict=True):
        rows[place] = row
    return rows


def _is_plugin_list(items: list[Any]) -> bool:
    return all(isinstance(item, dict) and {"class", "type"} <= set(item) for item in items)


def _is_left_out(item: Any) -> bool:
    name = item
    if isinstance(item, dict):
        name = item.get("class") or item.get("name") or (item.get("value") or {}).get("name")
    if not isinstance(name, str):
        return False
    return bool(_ONLY_ONE_HAS.fullmatch(name) or _CONVERTER_TYPE.fullmatch(name))


def _message(text: str) -> str:
    if text.startswith("Connector configuration is invalid"):
        return "\n".join(sorted(text.split("\n")))
    return re.sub(r"available connectors are: .*", "available connectors are: …", text, flags=re.DOTALL)
