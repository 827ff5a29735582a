"""`millstream takeover`: what of a Java Connect cluster would work here."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from connect.cli.failure import FAILED, USAGE, Failure
from connect.cli.output import Format, Output, show

if TYPE_CHECKING:
    from connect.runtime.config import WorkerConfig
    from connect.runtime.java_cluster import JavaCluster
    from connect.runtime.takeover import ConnectorReport, Finding


def takeover(
    properties: Annotated[
        Path,
        typer.Option(
            "--check",
            exists=True,
            dir_okay=False,
            metavar="PROPERTIES",
            show_default=False,
            help="The Java worker's settings, connect-distributed.properties.",
        ),
    ],
    connect: Annotated[
        bool, typer.Option("--connect", help="Let connectors look at the databases and stores they name.")
    ] = False,
    output: Output = Format.TABLE,
) -> None:
    """Say which connectors of a Java Connect cluster would work here, and why others not. Only reads."""
    given = _read(properties)
    worker, connectors = _check(given, connect)
    works = all(finding.level != "error" for finding in worker) and all(each.works for each in connectors)
    if output is Format.JSON:
        document = {
            "works": works,
            "worker": {"properties": str(properties), "findings": [_finding(each) for each in worker]},
            "connectors": [_document(each) for each in connectors],
        }
        show(output, document, (), ())
    else:
        _show_tables(worker, connectors, properties)
    if not works:
        raise typer.Exit(FAILED)


def _read(file: Path) -> dict[str, str]:
    from connect.api import ConfigError
    from connect.runtime.worker_settings import read_properties

    try:
        found = read_properties(file)
    except ConfigError as exc:
        raise Failure(str(exc), USAGE) from None
    if not found.get("bootstrap.servers"):
        raise Failure(f"{file}: bootstrap.servers is not set, so there is no cluster to look at", USAGE)
    return found


def _check(
    properties: dict[str, str], look_outside: bool
) -> tuple[Sequence["Finding"], Sequence["ConnectorReport"]]:
    import asyncio
    import logging
    import sys

    from connect.api import ConfigError, ConnectError
    from connect.rest.settings import RestSettings
    from connect.runtime.java_cluster import read_cluster
    from connect.runtime.plugins import Plugins, plugin_directories
    from connect.runtime.takeover import Takeover
    from connect.runtime.takeover_worker import check_worker, check_worker_plugins

    logging.disable(logging.CRITICAL)  # whatever goes wrong is in the report
    worker, findings = check_worker(properties, RestSettings.definitions())
    if worker is None:
        raise Failure("; ".join(each.message for each in findings if each.level == "error"), USAGE)
    findings += _of_rest(worker)
    directories = plugin_directories(worker.plugin_path)
    sys.path += directories
    plugins = Plugins.discover(directories)
    findings += check_worker_plugins(worker, plugins)
    try:
        cluster = asyncio.run(read_cluster(worker))
    except ConfigError as exc:
        raise Failure(str(exc), USAGE) from None
    except ConnectError as exc:
        raise Failure(str(exc)) from None
    findings += _of_topics(cluster)
    return findings, Takeover(worker, plugins, cluster, look_outside=look_outside).reports()


def _of_rest(worker: "WorkerConfig") -> Iterable["Finding"]:
    """What keeps REST from being served as the file says: users, certificates."""
    from connect.api import ConfigError
    from connect.rest.basic_auth import credentials
    from connect.rest.settings import RestSettings
    from connect.rest.tls import server_context
    from connect.runtime.addresses import advertised_url
    from connect.runtime.takeover import Finding, Level

    properties = worker.originals
    settings, errors = RestSettings.examine(properties)
    yield from (Finding(Level.ERROR, error.name, error.message) for error in errors)
    try:
        if settings is not None:
            credentials(settings)
    except ConfigError as exc:
        yield Finding(Level.ERROR, "rest.extension.classes", str(exc))
    try:
        advertised_url(worker)
    except ConfigError as exc:
        yield Finding(Level.ERROR, "rest.advertised.listener", str(exc))
    for setting in ("listeners", "admin.listeners"):
        if "https:" not in properties.get(setting, "").lower():
            continue
        try:
            server_context(properties, setting)
        except ConfigError as exc:
            yield Finding(Level.ERROR, setting, str(exc))


def _of_topics(cluster: "JavaCluster") -> Iterable["Finding"]:
    from connect.runtime.takeover import Finding, Level

    if cluster.runs:
        why = "the cluster has workers now: stop them before this worker starts, or both run the connectors"
        yield Finding(Level.WARNING, "group.id", why)
    for setting, topic in cluster.missing.items():
        yield Finding(Level.ERROR, setting, f"topic {topic} does not exist, or may not be read")
    for topic, count in cluster.unreadable.items():
        yield Finding(
            Level.ERROR, topic, f"{count} records are not Kafka Connect's JSON, and would be ignored"
        )


def _finding(finding: "Finding") -> dict[str, str]:
    return {"level": finding.level, "where": finding.where, "message": finding.message}


def _document(report: "ConnectorReport") -> dict[str, Any]:
    return {
        "name": report.name,
        "class": report.class_name,
        "type": report.type,
        "version": report.version,
        "target": report.target,
        "last_state": report.last_state,
        "tasks": report.tasks,
        "offsets": _offsets(report),
        "works": report.works,
        "findings": [_finding(each) for each in report.findings],
    }


def _offsets(report: "ConnectorReport") -> list[dict[str, Any]] | None:
    """In the shape of `GET /connectors/NAME/offsets`."""
    if report.offsets is None:
        return None
    if report.type == "sink":
        return [
            {
                "partition": {"kafka_topic": topic, "kafka_partition": number},
                "offset": {"kafka_offset": offset},
            }
            for topic, number, offset in report.offsets
        ]
    return [{"partition": partition, "offset": offset} for partition, offset in report.offsets]


def _show_tables(
    worker: Sequence["Finding"], connectors: Sequence["ConnectorReport"], properties: Path
) -> None:
    columns = ("CONNECTOR", "TYPE", "TARGET", "LAST STATE", "TASKS", "OFFSETS", "WORKS")
    show(Format.TABLE, None, columns, (_row(each) for each in connectors))
    findings = [(properties.name, finding) for finding in worker]
    findings += [(each.name, finding) for each in connectors for finding in each.findings]
    if findings:
        typer.echo()
        rows = ((of, each.level, each.where, each.message) for of, each in findings)
        show(Format.TABLE, None, ("OF", "LEVEL", "WHERE", "WHAT"), rows)


def _row(report: "ConnectorReport") -> tuple[Any, ...]:
    offsets = "?" if report.offsets is None else len(report.offsets)
    works = "yes" if report.works else "NO"
    return report.name, report.type, report.target, report.last_state, report.tasks, offsets, works
