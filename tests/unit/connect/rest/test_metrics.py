"""`GET /metrics`: Prometheus' text format, and who may read it."""

import asyncio

import httpx
import pytest
from fastapi import FastAPI
from support.fake_connect_service import SOURCE, FakeConnectService

from connect.rest.app import create_admin_app, create_app
from connect.rest.metrics import exposition
from connect.rest.settings import RestSettings
from connect.runtime.service import Sample


def get(app: FastAPI, path: str) -> httpx.Response:
    async def call() -> httpx.Response:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://worker") as client:
            return await client.get(path, headers={"Accept": "application/openmetrics-text, */*;q=0.1"})

    return asyncio.run(call())


def test_samples_of_one_metric_stand_together_under_its_type() -> None:
    text = exposition(
        [
            Sample("lag", "gauge", {"task": "0"}, 1),
            Sample("rows_total", "counter", {}, 2.5),
            Sample("lag", "gauge", {"task": "1"}, 3),
        ]
    )
    assert text == (
        '# TYPE lag gauge\nlag{task="0"} 1.0\nlag{task="1"} 3.0\n# TYPE rows_total counter\nrows_total 2.5\n'
    )


def test_labels_are_escaped() -> None:
    assert exposition([Sample("a", "gauge", {"l": 'x"\\\ny'}, 1)]).endswith('a{l="x\\"\\\\\\ny"} 1.0\n')


@pytest.mark.parametrize(
    ("value", "shown"),
    [(float("nan"), "NaN"), (float("inf"), "+Inf"), (-float("inf"), "-Inf"), (1e300, "1e+300"),
     (12345678901234.0, "12345678901234.0"), (0.1, "0.1"), (True, "1.0")],
)  # fmt: skip
def test_numbers(value: float, shown: str) -> None:
    assert exposition([Sample("a", "gauge", {}, value)]).split()[-1] == shown


@pytest.mark.parametrize("create", [create_app, create_admin_app])
def test_it_is_served_beside_rest_and_on_the_admin_listeners(create: object) -> None:
    service = FakeConnectService()
    service.samples = [Sample("a", "gauge", {}, 1)]
    assert callable(create)
    response = get(create(service, RestSettings.parse({})), "/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert response.text == "# TYPE a gauge\na 1.0\n"


def test_a_worker_that_starts_has_none_yet() -> None:
    service = FakeConnectService()
    service.health = (503, "Worker is still starting up.")
    assert get(create_app(service, RestSettings.parse({})), "/metrics").status_code == 503


def test_a_status_shows_the_metrics_of_a_task_that_runs_after_connects_own_fields() -> None:
    service = FakeConnectService()
    asyncio.run(service.create("c", {"connector.class": SOURCE, "topic": "t"}))
    app = create_app(service, RestSettings.parse({}))
    [task] = get(app, "/connectors/c/status").json()["tasks"]
    assert list(task) == ["id", "state", "worker_id", "version"]
    service.task_metrics_shown = {"records_per_second": 1.5, "lag": 3}
    [task] = get(app, "/connectors/c/status").json()["tasks"]
    assert list(task) == ["id", "state", "worker_id", "version", "metrics"]
    assert task["metrics"] == {"records_per_second": 1.5, "lag": 3}
    assert get(app, "/metrics/tasks").json() == {"c": {"0": {"records_per_second": 1.5, "lag": 3}}}
