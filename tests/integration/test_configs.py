"""Everything under configs/ does what it says: known to the real config classes, and deployed over REST."""

import json
import time
from pathlib import Path
from typing import Any

import javaproperties
import pytest

from broker.config import load_settings
from broker.properties import read_properties
from connect.runtime.config import WorkerConfig
from connect.testing.millstream import Millstream
from connect.testing.postgres import PostgresServer
from connect.testing.s3 import S3Server

CONFIGS = Path(__file__).parents[2] / "configs"
CONNECTORS = sorted(CONFIGS.rglob("*.json"), key=str)
PATHS = ("input.path", "finished.path", "error.path", "fs.listing.directory.path", "output.path")
TABLES = """
CREATE TABLE IF NOT EXISTS customers (id int PRIMARY KEY);
CREATE TABLE IF NOT EXISTS products (id int PRIMARY KEY);
CREATE TABLE IF NOT EXISTS orders (id int PRIMARY KEY);
"""


@pytest.fixture(scope="session")
def here(postgres: PostgresServer, s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The settings that differ from machine to machine, as they are here."""
    postgres.create_database("shop")
    with postgres.connect("shop") as connection:
        connection.execute(TABLES)
    folder = tmp_path_factory.mktemp("files")
    (folder / "app.log").write_text("a line\n")
    (folder / "till.log").write_text("a line\n")
    s3.create_bucket("shop-events")
    paths = {name: str(folder / name) for name in PATHS}
    for path in paths.values():
        Path(path).mkdir()
    return {
        **paths,
        "database.hostname": postgres.host,
        "database.port": str(postgres.port),
        "database.user": postgres.user,
        "database.password": postgres.password,
        "store.url": s3.endpoint,
        "aws.access.key.id": s3.access_key,
        "aws.secret.access.key": s3.secret_key,
        "iceberg.catalog.uri": f"sqlite:///{folder}/catalog.db",
        "folder": str(folder),
    }


def test_the_brokers_settings_are_all_known() -> None:
    settings, warnings = load_settings(read_properties(CONFIGS / "broker.properties"))
    assert warnings == []
    assert settings.num_partitions == 1


def test_the_workers_settings_are_all_known() -> None:
    properties = javaproperties.loads((CONFIGS / "worker.properties").read_text())
    config, errors = WorkerConfig.examine(properties)
    assert config is not None, errors
    assert WorkerConfig.unknown(properties) == []


@pytest.mark.parametrize("path", CONNECTORS, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_a_connector_config_is_valid_and_runs(
    path: Path, millstream: Millstream, here: dict[str, str]
) -> None:
    connector = json.loads(path.read_text())
    config = localised(connector["config"], here, slot=path.stem)
    name = f"{connector['name']}-{path.parent.name}"
    plugin = config["connector.class"]

    answer = millstream.request(
        "PUT", f"/connector-plugins/{plugin}/config/validate", config | {"name": name}
    )
    assert answer.status_code == 200, answer.text
    faults = {
        c["value"]["name"]: c["value"]["errors"] for c in answer.json()["configs"] if c["value"]["errors"]
    }
    assert faults == {}
    assert {c["value"]["name"] for c in answer.json()["configs"]} >= set(config)

    answer = millstream.request("POST", "/connectors", {"name": name, "config": config})
    assert answer.status_code == 201, answer.text
    status: dict[str, Any] = {}
    deadline = time.monotonic() + 60
    while [task["state"] for task in status.get("tasks", ())] != ["RUNNING"] * int(config["tasks.max"]):
        assert time.monotonic() < deadline, status
        time.sleep(0.05)
        status = millstream.request("GET", f"/connectors/{name}/status").json()
    assert millstream.request("DELETE", f"/connectors/{name}").status_code == 204


def localised(config: dict[str, str], here: dict[str, str], slot: str) -> dict[str, str]:
    """The config with this machine's servers and folders."""
    changed = {name: here[name] for name in config if name in here}
    if "slot.name" in config:
        unique = f"{config['slot.name']}_{slot.replace('-', '_')}"
        changed |= {"slot.name": unique, "publication.name": unique}
    if "file" in config:
        changed["file"] = f"{here['folder']}/{Path(config['file']).name}"
    if "s3.bucket.name" in config:
        changed |= {name: here[name] for name in ("store.url", "aws.access.key.id", "aws.secret.access.key")}
    return config | changed
