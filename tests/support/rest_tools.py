"""What the tools around Kafka Connect ask of its REST API, and which fields of the answers they read.

kcctl's client interface; the clients of AKHQ (kafka-connect-client), of kafka-ui and kafbat (generated from
their contract) and of Redpanda Console (connect-client); what Conduktor sends besides.
"""

from dataclasses import dataclass
from typing import Any

PLUGIN = "org.apache.kafka.connect.file.FileStreamSourceConnector"
Shape = Any  # a type, a list of one shape, a dict of shapes, or a tuple of allowed ones

_TASK_ID = {"connector": str, "task": int}
_INFO = {"name": str, "config": {"connector.class": str}, "tasks": [_TASK_ID], "type": ("source", "sink")}
_STATE = ("RUNNING", "PAUSED", "STOPPED", "FAILED", "RESTARTING", "UNASSIGNED")
_STATUS = {
    "name": str, "connector": {"state": _STATE, "worker_id": str},
    "tasks": [{"id": int, "state": _STATE, "worker_id": str}], "type": ("source", "sink"),
}  # fmt: skip
_DEFINITION = {
    "name": str,
    "type": ("BOOLEAN", "CLASS", "DOUBLE", "INT", "LIST", "LONG", "PASSWORD", "SHORT", "STRING"),
    "required": bool, "default_value": (str, None), "importance": ("LOW", "MEDIUM", "HIGH"),
    "documentation": (str, None), "group": (str, None), "width": ("SHORT", "MEDIUM", "LONG", "NONE"),
    "display_name": (str, None), "dependents": [str], "order_in_group": int,
}  # fmt: skip
_VALUE = {"name": str, "value": (str, None), "recommended_values": [str], "errors": [str], "visible": bool}
_CHECKED = {
    "name": str, "error_count": int, "groups": [str],
    "configs": [{"definition": _DEFINITION, "value": _VALUE}],
}  # fmt: skip
_EXPANDED = {"{c}": {"info": _INFO, "status": _STATUS}}
_OFFSETS = {"offsets": [{"partition": dict, "offset": dict}]}
_EMPTY = None


@dataclass(frozen=True, slots=True)
class Call:
    """`{c}` in path and body is the connector's name. `type`: how the tool says that it sends JSON."""

    method: str
    path: str
    status: int
    shape: Shape = _EMPTY
    body: Any = None
    type: str = "application/json"

    @property
    def deploys(self) -> bool:
        """Whether there are tasks to wait for before a user would go on."""
        return self.shape is _INFO and self.method in ("POST", "PUT")


def _config(**more: str) -> dict[str, str]:
    converter = "org.apache.kafka.connect.storage.StringConverter"
    own = {"connector.class": PLUGIN, "file": "{c}.txt", "topic": "{c}", "value.converter": converter}
    return {**own, **more}


_NEW = {"name": "{c}", "config": _config()}
_JSON_UTF8 = "application/json; charset=utf-8"

SEQUENCES: dict[str, list[Call]] = {
    "kcctl": [
        Call("GET", "/", 200, {"version": str, "commit": str, "kafka_cluster_id": str}),
        Call("GET", "/connector-plugins?connectorsOnly=false", 200, [{"class": str, "type": str}]),
        Call("GET", f"/connector-plugins/{PLUGIN}/config", 200, [_DEFINITION]),
        Call("PUT", f"/connector-plugins/{PLUGIN}/config/validate", 200, _CHECKED, _config(name="{c}")),
        Call("GET", "/connectors/", 200, [str]),
        Call("POST", "/connectors/", 201, _INFO, _NEW),
        Call("GET", "/connectors?expand=info&expand=status", 200, _EXPANDED),
        Call("GET", "/connectors/{c}", 200, _INFO),
        Call("GET", "/connectors/{c}/topics", 200, {"{c}": {"topics": [str]}}),
        Call("PUT", "/connectors/{c}/config", 200, _INFO, _config(**{"batch.size": "7"})),
        Call("POST", "/connectors/{c}/restart?includeTasks=true&onlyFailed=false", 202, _STATUS),
        Call("POST", "/connectors/{c}/tasks/0/restart", 204),
        Call("PUT", "/connectors/{c}/pause", 202),
        Call("PUT", "/connectors/{c}/resume", 202),
        Call("PUT", "/connectors/{c}/stop", 204),
        Call("PATCH", "/connectors/{c}/offsets", 200, {"message": str},
             {"offsets": [{"partition": {"filename": "{c}.txt"}, "offset": {"position": 0}}]}),
        Call("GET", "/connectors/{c}/offsets", 200, _OFFSETS),
        Call("DELETE", "/connectors/{c}/offsets", 200, {"message": str}),
        Call("GET", "/admin/loggers/", 200, dict),
        Call("PUT", "/admin/loggers/connect.rest", 200, [str], {"level": "INFO"}),
        Call("DELETE", "/connectors/{c}", 204),
    ],
    "akhq": [
        Call("GET", "/", 200, {"version": str}),
        Call("GET", "/connector-plugins", 200, [{"class": str, "type": str, "version": str}]),
        Call("PUT", f"/connector-plugins/{PLUGIN}/config/validate", 200, _CHECKED,
             {"connector.class": PLUGIN, "name": "", "topic": ""}, _JSON_UTF8),
        Call("POST", "/connectors", 201, _INFO, _NEW, _JSON_UTF8),
        Call("GET", "/connectors?expand=info&expand=status", 200, _EXPANDED),
        Call("GET", "/connectors?expand=info", 200, {"{c}": {"info": _INFO}}),
        Call("GET", "/connectors/{c}/status", 200, _STATUS),
        Call("PUT", "/connectors/{c}/config", 200, _INFO, _config(name="{c}"), _JSON_UTF8),
        Call("PUT", "/connectors/{c}/pause", 202, body="", type=_JSON_UTF8),
        Call("PUT", "/connectors/{c}/resume", 202, body="", type=_JSON_UTF8),
        Call("POST", "/connectors/{c}/restart", 204, body="", type=_JSON_UTF8),
        Call("POST", "/connectors/{c}/tasks/0/restart", 204, body="", type=_JSON_UTF8),
        Call("DELETE", "/connectors/{c}", 204),
    ],
    "kafka-ui": [
        Call("GET", "/connectors", 200, [str]),
        Call("POST", "/connectors", 201, _INFO, {"name": "{c}", "config": _config(**{"batch.size": 7})}),
        Call("GET", "/connectors/{c}", 200, _INFO),
        Call("GET", "/connectors/{c}/config", 200, {"connector.class": str}),
        Call("GET", "/connectors/{c}/status", 200, _STATUS),
        Call("GET", "/connectors/{c}/tasks", 200, [{"id": _TASK_ID, "config": dict}]),
        Call("GET", "/connectors/{c}/tasks/0/status", 200, {"id": int, "state": _STATE, "worker_id": str}),
        Call("GET", "/connectors/{c}/topics", 200, {"{c}": {"topics": [str]}}),
        Call("PUT", "/connectors/{c}/config", 200, _INFO, _config(**{"tasks.max": 1})),
        Call("POST", "/connectors/{c}/restart?includeTasks=true", 202, _STATUS),
        Call("POST", "/connectors/{c}/restart?includeTasks=true&onlyFailed=true", 202, _STATUS),
        Call("GET", "/connector-plugins", 200, [{"class": str}]),
        Call("PUT", "/connector-plugins/FileStreamSourceConnector/config/validate", 200, _CHECKED, _config()),
        Call("PUT", "/connectors/{c}/stop", 204),
        Call("DELETE", "/connectors/{c}/offsets", 200, {"message": str}),
        Call("DELETE", "/connectors/{c}", 204),
    ],
    "redpanda console": [
        Call("GET", "/", 200, {"version": str, "commit": str, "kafka_cluster_id": str}),
        Call("GET", "/connector-plugins", 200, [{"class": str, "type": str, "version": str}]),
        Call("PUT", f"/connector-plugins/{PLUGIN}/config/validate", 200, _CHECKED,
             {"connector.class": PLUGIN, "name": "{c}"}),
        Call("POST", "/connectors", 201, _INFO, _NEW),
        Call("GET", "/connectors?expand=info&expand=status", 200, _EXPANDED),
        Call("GET", "/connectors/{c}/topics", 200, {"{c}": {"topics": [str]}}),
        Call("PUT", "/connectors/{c}/topics/reset", 202),
        Call("POST", "/connectors/{c}/restart?includeTasks=false&onlyFailed=true", 202, _STATUS),
        Call("POST", "/connectors/{c}/tasks/0/restart", 204),
        Call("GET", "/connectors/none", 404, {"error_code": int, "message": str}),
        Call("DELETE", "/connectors/{c}", 204),
    ],
    "conduktor": [
        Call("GET", "/", 200, {"version": str, "commit": str, "kafka_cluster_id": str}),
        Call("GET", "/connectors?expand=status&expand=info", 200, dict),
        Call("PUT", "/connectors/{c}/config", 201, _INFO, _config(name="{c}")),
        Call("GET", "/connectors/{c}/status", 200, _STATUS),
        Call("GET", "/connectors/{c}/offsets", 200, {"offsets": list}),
        Call("PUT", "/connectors/{c}/pause", 202),
        Call("PUT", "/connectors/{c}/resume", 202),
        Call("DELETE", "/connectors/{c}", 204),
    ],
}  # fmt: skip


def misfits(value: Any, shape: Shape, name: str, where: str = "answer") -> list[str]:
    """Where a value is not of a shape; more fields than it names are no harm."""
    if shape is None:
        return [] if value is None else [f"{where} is not empty"]
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return [f"{where} is no object: {value!r}"]
        found = []
        for field, inner in shape.items():
            field = field.replace("{c}", name)
            if field not in value:
                found.append(f"{where} has no {field}")
            else:
                found += misfits(value[field], inner, name, f"{where}.{field}")
        return found
    if isinstance(shape, list):
        if not isinstance(value, list):
            return [f"{where} is no array: {value!r}"]
        return [why for item in value for why in misfits(item, shape[0], name, f"{where}[]")]
    if isinstance(shape, tuple):
        fits = any(value == each or (isinstance(each, type) and type(value) is each) for each in shape)
    else:
        fits = type(value) is shape
    return [] if fits else [f"{where} is {value!r}, not {shape}"]
