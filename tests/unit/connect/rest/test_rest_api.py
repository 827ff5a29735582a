"""The REST API over a service in memory: routing, shapes, refusals, secrets."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest
from support.fake_connect_service import SOURCE, FakeConnectService

from connect.api import ConfigError
from connect.rest.app import create_app
from connect.rest.settings import RestSettings

JSON = {"Content-Type": "application/json"}


class Client:
    """Calls the app; every call runs to its end before it returns."""

    def __init__(self, service: FakeConnectService, settings: dict[str, str]) -> None:
        self._app = create_app(service, RestSettings.parse(settings))

    def __call__(self, method: str, path: str, body: Any = None, **rest: Any) -> httpx.Response:
        async def call() -> httpx.Response:
            transport = httpx.ASGITransport(app=self._app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://worker:8083") as client:
                return await client.request(method, path, json=body, **rest)

        return asyncio.run(call())


@pytest.fixture
def service() -> FakeConnectService:
    return FakeConnectService()


@pytest.fixture
def call(service: FakeConnectService) -> Client:
    return Client(service, {})


@pytest.fixture
def deployed(service: FakeConnectService, call: Client) -> Client:
    config = {"connector.class": SOURCE, "topic": "t"}
    assert call("POST", "/connectors", {"name": "c", "config": config}).status_code == 201
    return call


def refusal(response: httpx.Response) -> tuple[int, str]:
    body = response.json()
    assert body["error_code"] == response.status_code
    assert list(body) == ["error_code", "message"]
    return response.status_code, body["message"]


def test_root_names_version_and_cluster(call: Client) -> None:
    body = call("GET", "/").json()
    assert list(body) == ["version", "commit", "kafka_cluster_id"]
    assert body["kafka_cluster_id"] == "cluster-1"


@pytest.mark.parametrize(("status", "word"), [(200, "healthy"), (503, "starting"), (500, "unhealthy")])
def test_health_answers_with_its_own_status(
    service: FakeConnectService, call: Client, status: int, word: str
) -> None:
    service.health = (status, "why")
    response = call("GET", "/health")
    assert response.status_code == status
    assert response.json() == {"status": word, "message": "why"}


def test_while_starting_only_root_and_health_are_answered(service: FakeConnectService, call: Client) -> None:
    service.health = (503, "Worker is still starting up.")
    response = call("GET", "/connectors")
    assert refusal(response) == (503, "Worker is still starting up.")
    assert response.headers["Retry-After"] == "1"
    assert call("GET", "/").status_code == 200


def test_create_answers_with_location_and_the_whole_connector(call: Client) -> None:
    config = {"connector.class": SOURCE, "tasks.max": 1, "topic": "t", "flag": True}
    response = call("POST", "/connectors", {"name": "c", "config": config})
    assert response.status_code == 201
    assert response.headers["location"] == "http://worker:8083/connectors/c"
    assert response.json() == {
        "name": "c",
        "config": {"connector.class": SOURCE, "tasks.max": "1", "topic": "t", "flag": "true", "name": "c"},
        "tasks": [{"connector": "c", "task": 0}],
        "type": "source",
    }
    assert call("GET", "/connectors").json() == ["c"]


def test_warnings_stand_last_in_the_answer(service: FakeConnectService, call: Client) -> None:
    service.warnings = ["it is ignored"]
    body = call("POST", "/connectors", {"name": "c", "config": {"connector.class": SOURCE}}).json()
    assert list(body)[-1] == "warnings"
    assert body["warnings"] == ["it is ignored"]
    assert "warnings" not in call("GET", "/connectors/c").json()


@pytest.mark.parametrize("initial", ["PAUSED", "paused"])
def test_create_in_an_initial_state(call: Client, initial: str) -> None:
    body = {"name": "c", "initial_state": initial, "config": {"connector.class": SOURCE}}
    assert call("POST", "/connectors", body).status_code == 201
    assert call("GET", "/connectors/c/status").json()["connector"]["state"] == "PAUSED"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "The request body is empty: send JSON"),
        (
            "{",
            "The request body is not JSON: Expecting property name enclosed in double quotes at character 1",
        ),
        ("[]", "The request body must be a JSON object"),
        ("null", "The request body must be a JSON object"),
        ('{"name": "c"}', "config is missing"),
        ('{"name": "c", "config": null}', "config must be a JSON object"),
        (
            '{"name": "c", "config": {"a": {"b": 1}}}',
            "config.a must be a string, a number, true, false or null, not an object",
        ),
        ('{"name": "c", "config": {}, "extra": 1}', "extra is not a known field"),
        (
            '{"name": "c", "config": {}, "initial_state": "DANCING"}',
            "initial_state must be RUNNING, PAUSED or STOPPED, not 'DANCING'",
        ),
        (
            '{"name": "c", "config": {"name": "other"}}',
            "Connector name configuration (other) doesn't match connector name in the URL (c)",
        ),
    ],
)
def test_a_bad_create_says_which_field_and_why(call: Client, content: str, message: str) -> None:
    response = call("POST", "/connectors", content=content, headers=JSON)
    assert refusal(response) == (400, message)


def test_an_existing_name_is_a_conflict(deployed: Client) -> None:
    body = {"name": "c", "config": {"connector.class": SOURCE}}
    assert refusal(deployed("POST", "/connectors", body)) == (409, "Connector c already exists")


def test_a_body_must_say_that_it_is_json(call: Client) -> None:
    response = call("POST", "/connectors", content="{}", headers={"Content-Type": "text/plain"})
    assert refusal(response) == (415, "HTTP 415 Unsupported Media Type")


def test_a_client_that_takes_no_json_is_refused(call: Client) -> None:
    response = call("GET", "/connectors", headers={"Accept": "text/plain"})
    assert refusal(response) == (406, "HTTP 406 Not Acceptable")


def test_a_body_beyond_the_limit_is_refused(call: Client) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(9):
            yield b" " * (1 << 20)

    too_large = (413, "The request body is too large: at most 8388608 bytes are taken")
    assert refusal(call("PUT", "/connectors/c/config", {"a": "x" * (9 << 20)})) == too_large
    assert refusal(call("PUT", "/connectors/c/config", content=parts(), headers=JSON)) == too_large


@pytest.mark.parametrize("name", ["a/b", "a%2Fb", "a\\b", "100%", "zwölf", "a b?c#d"])
def test_every_name_can_be_addressed(call: Client, name: str) -> None:
    created = call("POST", "/connectors", {"name": name, "config": {"connector.class": SOURCE}})
    assert created.status_code == 201
    location = created.headers["location"].removeprefix("http://worker:8083")
    assert location.count("/") == 2
    assert call("GET", location).json()["name"] == name
    assert call("GET", location + "/status").json()["name"] == name
    assert call("DELETE", location).status_code == 204
    assert call("GET", "/connectors").json() == []


def test_expand_gives_what_is_asked_for_in_that_order(deployed: Client) -> None:
    both = deployed("GET", "/connectors?expand=status&expand=info").json()
    assert list(both["c"]) == ["status", "info"]
    assert both["c"]["status"] == deployed("GET", "/connectors/c/status").json()
    assert both["c"]["info"] == deployed("GET", "/connectors/c").json()
    assert list(deployed("GET", "/connectors?expand=info").json()["c"]) == ["info"]
    assert deployed("GET", "/connectors?expand=bogus").json() == {"c": {}}


def test_put_config_creates_and_then_changes(call: Client) -> None:
    config = {"connector.class": SOURCE}
    assert call("PUT", "/connectors/c/config", config).status_code == 201
    changed = call("PUT", "/connectors/c/config", {**config, "topic": "other"})
    assert changed.status_code == 200
    assert call("GET", "/connectors/c/config").json() == {**config, "topic": "other", "name": "c"}


def test_patch_config_changes_and_removes(deployed: Client) -> None:
    deployed("PATCH", "/connectors/c/config", {"batch": 10, "topic": None})
    assert deployed("GET", "/connectors/c/config").json() == {
        "connector.class": SOURCE,
        "name": "c",
        "batch": "10",
    }


def test_patch_cannot_give_a_connector_another_name(deployed: Client) -> None:
    status, message = refusal(deployed("PATCH", "/connectors/c/config", {"name": "d"}))
    assert (status, "(d) doesn't match connector name in the URL (c)" in message) == (400, True)


def test_life_cycle_answers_have_connects_status_codes(deployed: Client) -> None:
    for verb, status, state in [
        ("pause", 202, "PAUSED"),
        ("resume", 202, "RUNNING"),
        ("stop", 204, "STOPPED"),
    ]:
        response = deployed("PUT", f"/connectors/c/{verb}")
        assert (response.status_code, response.content) == (status, b"")
        assert deployed("GET", "/connectors/c/status").json()["connector"]["state"] == state
    assert deployed("DELETE", "/connectors/c").status_code == 204
    assert refusal(deployed("DELETE", "/connectors/c")) == (404, "Connector c not found")


@pytest.mark.parametrize(
    ("query", "status", "flags"),
    [
        ("", 204, (False, False)),
        ("?includeTasks=false", 204, (False, False)),
        ("?includeTasks=maybe&onlyFailed=1", 204, (False, False)),
        ("?includeTasks=true", 202, (True, False)),
        ("?onlyFailed=TRUE", 202, (False, True)),
    ],
)
def test_restart_flags(
    service: FakeConnectService, deployed: Client, query: str, status: int, flags: tuple[bool, bool]
) -> None:
    response = deployed("POST", f"/connectors/c/restart{query}")
    assert response.status_code == status
    assert (response.json()["name"] if status == 202 else response.content) in ("c", b"")
    assert service.restarts == [("c", *flags)]


def test_a_failed_task_shows_its_trace_last(service: FakeConnectService, deployed: Client) -> None:
    service.failed["c"] = "it broke"
    task = deployed("GET", "/connectors/c/tasks/0/status").json()
    assert list(task.items()) == [
        ("id", 0),
        ("state", "FAILED"),
        ("worker_id", "127.0.0.1:8083"),
        ("version", "1.0"),
        ("trace", "it broke"),
    ]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/connectors/x", "Connector x not found"),
        ("/connectors/x/status", "No status found for connector x"),
        ("/connectors/x/tasks/0/status", "No status found for task x-0"),
        ("/connectors/c/tasks/9/status", "No status found for task c-9"),
        ("/connectors/c/tasks/nine/status", "HTTP 404 Not Found"),
        ("/connectors/c/nosuch", "HTTP 404 Not Found"),
        ("/nosuch", "HTTP 404 Not Found"),
        ("/connector-plugins/nosuch/config", "Unknown plugin nosuch."),
        ("/admin/loggers/no.such", "Logger no.such not found."),
    ],
)
def test_what_is_not_there(deployed: Client, path: str, message: str) -> None:
    assert refusal(deployed("GET", path)) == (404, message)


def test_another_method_is_refused_with_those_allowed(call: Client) -> None:
    response = call("PUT", "/connectors", {})
    assert refusal(response) == (405, "HTTP 405 Method Not Allowed")
    assert response.headers["allow"] == "GET,HEAD,OPTIONS,POST"
    options = call("OPTIONS", "/connectors/x/config")
    assert (options.status_code, options.headers["allow"]) == (200, "GET,HEAD,OPTIONS,PATCH,PUT")


def test_trailing_slash_and_head(call: Client) -> None:
    assert call("GET", "/connectors/").json() == []
    assert call("HEAD", "/connectors").status_code == 200


def test_tasks_and_topics(deployed: Client) -> None:
    assert deployed("GET", "/connectors/c/tasks").json() == [
        {
            "id": {"connector": "c", "task": 0},
            "config": {
                "connector.class": SOURCE,
                "topic": "t",
                "name": "c",
                "task.class": "org.example.Task",
            },
        }
    ]
    assert deployed("GET", "/connectors/c/topics").json() == {"c": {"topics": ["t1"]}}
    assert deployed("PUT", "/connectors/c/topics/reset").status_code == 202


def test_offsets_are_read_altered_and_reset(deployed: Client) -> None:
    path = "/connectors/c/offsets"
    item = {"partition": {"file": "a"}, "offset": {"position": 7}}
    altered = deployed("PATCH", path, {"offsets": [item]})
    assert altered.json() == {"message": "The offsets for this connector have been altered successfully"}
    assert deployed("GET", path).json() == {"offsets": [item]}
    assert deployed("DELETE", path).status_code == 200
    assert deployed("GET", path).json() == {"offsets": []}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "Partitions / offsets need to be provided for an alter offsets request"),
        ({"offsets": []}, "Partitions / offsets need to be provided for an alter offsets request"),
        ({"offsets": {}}, "offsets must be a JSON list"),
        ({"offsets": [{"offset": {}}]}, "Partition objects cannot be null"),
        ({"offsets": [{"partition": 5}]}, "offsets[0].partition must be a JSON object"),
        ({"offsets": [{"partition": {}, "x": 1}]}, "offsets[0].x is not a known field"),
    ],
)
def test_bad_offsets_say_which_field_and_why(deployed: Client, body: Any, message: str) -> None:
    assert refusal(deployed("PATCH", "/connectors/c/offsets", body)) == (400, message)


def test_plugins(call: Client) -> None:
    assert call("GET", "/connector-plugins").json() == [{"class": SOURCE, "type": "source", "version": "1.0"}]
    everything = call("GET", "/connector-plugins?connectorsOnly=false").json()
    assert everything[1] == {"class": "org.example.Cast", "type": "transformation"}
    assert call("GET", f"/connector-plugins/{SOURCE}/config").json()[0] == {
        "name": "topic",
        "type": "STRING",
        "required": True,
        "default_value": None,
        "importance": "MEDIUM",
        "documentation": "Where to write.",
        "group": None,
        "order_in_group": -1,
        "width": "NONE",
        "display_name": "topic",
        "dependents": [],
    }


def test_a_version_of_a_plugin_may_be_asked_for(call: Client) -> None:
    path = f"/connector-plugins/{SOURCE}/config"
    assert call("GET", f"{path}?version=1.0").json() == call("GET", path).json()
    assert refusal(call("GET", f"{path}?version=2.0")) == (400, "no version 2.0")


def test_validate_answers_setting_by_setting(call: Client) -> None:
    body = {"connector.class": SOURCE, "colour": "red"}
    answer = call("PUT", f"/connector-plugins/{SOURCE}/config/validate", body).json()
    assert list(answer) == ["name", "error_count", "groups", "configs", "warnings"]
    topic = answer["configs"][0]
    assert topic["definition"]["name"] == "topic"
    assert topic["value"] == {
        "name": "topic",
        "value": None,
        "recommended_values": [],
        "errors": ['Missing required configuration "topic" which has no default value.'],
        "visible": True,
    }
    assert answer["configs"][-1]["definition"] is None
    assert f"colour is not a setting of {SOURCE}" in answer["warnings"]


def test_validate_refuses_another_plugins_config(call: Client) -> None:
    response = call("PUT", "/connector-plugins/Nosuch/config/validate", {"connector.class": SOURCE})
    assert refusal(response) == (
        400,
        f"Included connector type {SOURCE} does not match request type Nosuch",
    )


def test_validate_needs_the_class(call: Client) -> None:
    response = call("PUT", f"/connector-plugins/{SOURCE}/config/validate", {})
    assert refusal(response) == (400, "connector.class is missing: a config names the class of its connector")


def test_validate_without_warnings_has_connects_fields_only(call: Client) -> None:
    path = "/connector-plugins/ExampleSource/config/validate"
    answer = call("PUT", path, {"connector.class": SOURCE, "topic": "t"}).json()
    assert list(answer) == ["name", "error_count", "groups", "configs"]


SECRETS = {
    "door.code": "1234",
    "pass.token": "shown",
    "producer.override.sasl.jaas.config": "user and password",
    "transforms.t.api.key": "k",
    "azblob.account.key": "k",
    "azure.storage.connection.string": "AccountKey=k",
    "database.password": "${file:/etc/secrets.properties:pw}",
    "empty.password": "",
}
HIDDEN = {
    **SECRETS,
    "door.code": "[hidden]",
    "producer.override.sasl.jaas.config": "[hidden]",
    "transforms.t.api.key": "[hidden]",
    "azblob.account.key": "[hidden]",
    "azure.storage.connection.string": "[hidden]",
}


def test_secrets_are_in_no_answer(call: Client) -> None:
    config = {"connector.class": SOURCE, **SECRETS}
    hidden = {"connector.class": SOURCE, **HIDDEN, "name": "c"}
    assert call("POST", "/connectors", {"name": "c", "config": config}).json()["config"] == hidden
    assert call("PUT", "/connectors/c/config", config).json()["config"] == hidden
    assert call("PATCH", "/connectors/c/config", {}).json()["config"] == hidden
    assert call("GET", "/connectors/c").json()["config"] == hidden
    assert call("GET", "/connectors/c/config").json() == hidden
    assert call("GET", "/connectors?expand=info").json()["c"]["info"]["config"] == hidden
    assert "1234" not in call("GET", "/connectors/c/tasks").text


def test_a_hidden_secret_that_comes_back_means_as_it_is(service: FakeConnectService, call: Client) -> None:
    call("PUT", "/connectors/c/config", {"connector.class": SOURCE, **SECRETS})
    read = call("GET", "/connectors/c/config").json()
    call("PUT", "/connectors/c/config", {**read, "topic": "changed"})
    assert service.configs["c"] == {"connector.class": SOURCE, **SECRETS, "topic": "changed", "name": "c"}
    call("PATCH", "/connectors/c/config", {"door.code": "[hidden]"})
    assert service.configs["c"]["door.code"] == "1234"


def test_a_hidden_secret_that_was_never_given_is_refused(call: Client) -> None:
    body = {"name": "new", "config": {"connector.class": SOURCE, "door.code": "[hidden]"}}
    status, message = refusal(call("POST", "/connectors", body))
    assert status == 400
    assert message.startswith("door.code is [hidden]")


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("test.rest.loggers")
    yield logger
    logger.setLevel(logging.NOTSET)


def test_log_levels_are_read_and_changed(call: Client, logger: logging.Logger) -> None:
    below = logging.getLogger("test.rest.loggers.below")
    path = f"/admin/loggers/{logger.name}"
    assert call("PUT", path, {"level": "trace"}).json() == [logger.name, below.name]
    assert logger.level == below.level == 5
    shown = call("GET", path).json()
    assert shown["level"] == "TRACE"
    assert shown["last_modified"] > 1_700_000_000_000
    assert call("GET", "/admin/loggers").json()[logger.name] == shown
    assert call("PUT", path + "?scope=WORKER", {"level": "TRACE"}).json() == []  # they have it


def test_empty_admin_listeners_turn_admin_off(service: FakeConnectService) -> None:
    call = Client(service, {"admin.listeners": ""})
    assert call("GET", "/admin/loggers").status_code == 404
    assert call("GET", "/connectors").status_code == 200


def test_a_log_level_for_all_workers(
    service: FakeConnectService, call: Client, logger: logging.Logger
) -> None:
    response = call("PUT", f"/admin/loggers/{logger.name}?scope=cluster", {"level": "warn"})
    assert (response.status_code, response.content) == (204, b"")
    assert service.cluster_levels == {logger.name: "WARN"}


@pytest.mark.parametrize(
    ("query", "body", "status", "message"),
    [
        ("", {}, 400, "Desired 'level' parameter was not specified in request."),
        ("", {"level": "LOUD"}, 404, "invalid log level 'LOUD'."),
        ("", {"level": ""}, 404, "invalid log level ''."),
        (
            "?scope=galaxy",
            {"level": "INFO"},
            400,
            "scope is galaxy, but must be worker or cluster",
        ),
    ],
)
def test_bad_log_levels(call: Client, query: str, body: Any, status: int, message: str) -> None:
    assert refusal(call("PUT", f"/admin/loggers/test.bad{query}", body)) == (status, message)


def test_an_unexpected_error_is_500_in_connects_shape(service: FakeConnectService, call: Client) -> None:
    def broken() -> list[str]:
        raise RuntimeError("out of order")

    service.connectors = broken  # type: ignore[method-assign]
    assert refusal(call("GET", "/connectors")) == (500, "RuntimeError: out of order")


def test_cors_is_off_unless_an_origin_is_allowed(service: FakeConnectService, call: Client) -> None:
    asked = {"Origin": "http://console"}
    assert "access-control-allow-origin" not in call("GET", "/", headers=asked).headers
    allowing = Client(service, {"access.control.allow.origin": "http://console"})
    headers = allowing("GET", "/", headers=asked).headers
    assert headers["access-control-allow-origin"] == "http://console"


@pytest.mark.parametrize(("origin", "allowed"), [
    ("http://console", True), ("https://a.example.com", True), ("https://b.example.org", False),
])  # fmt: skip
def test_cors_of_several_origins(service: FakeConnectService, origin: str, allowed: bool) -> None:
    call = Client(service, {"access.control.allow.origin": "http://console, https://*.example.com"})
    assert ("access-control-allow-origin" in call("GET", "/", headers={"Origin": origin}).headers) is allowed


def test_every_answer_has_the_headers_of_the_rules(service: FakeConnectService) -> None:
    rules = (
        'set X-Frame-Options:DENY, "add Cache-Control: no-cache, no-store",add Cache-Control:max-age=0, '
        "setDate Expires:-3600000, set Content-Security-Policy:img-src https://a.example"
    )
    call = Client(service, {"response.http.headers.config": rules})
    for path in ("/", "/connectors/none"):
        headers = call("GET", path).headers
        assert headers["x-frame-options"] == "DENY"
        assert headers.get_list("cache-control") == ["no-cache, no-store", "max-age=0"]
        assert headers["content-security-policy"] == "img-src https://a.example"
        ago = datetime.now(UTC) - parsedate_to_datetime(headers["expires"])
        assert timedelta(minutes=59) < ago < timedelta(minutes=61)


@pytest.mark.parametrize(("rule", "why"), [
    ("set", "Invalid format of header config 'set'"),
    ("put a:b", "Invalid header config action: 'put'. Expected one of [set, add, setDate, addDate]"),
    ("set a", "Invalid format of header name and header value pair 'a'"),
    ("set a b:c", "Invalid header name 'a b'"),
    ("set :c", "Invalid header name ''"),
    ("addDate a:soon", "how many milliseconds"),
])  # fmt: skip
def test_a_bad_rule_for_headers_is_named(rule: str, why: str) -> None:
    with pytest.raises(ConfigError) as refused:
        RestSettings.parse({"response.http.headers.config": rule})
    assert "response.http.headers.config" in str(refused.value)
    assert why in str(refused.value)


def test_the_openapi_document_lists_the_endpoints(call: Client) -> None:
    paths = call("GET", "/openapi.json").json()["paths"]
    assert {"get", "put", "patch"} <= set(paths["/connectors/{connector}/config"])
