"""`millstream topics`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from connect.cli.failure import USAGE, Failure
from connect.cli.output import Format, Output, say, show
from connect.cli.servers import Bootstrap, bootstrap_servers

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient, TopicMetadata

app = typer.Typer(no_args_is_help=True, help="List, create, describe and delete topics.")

Topic = Annotated[str, typer.Argument(help="Name of the topic.", show_default=False)]
ClientSettings = Annotated[
    list[str] | None,
    typer.Option("-X", metavar="NAME=VALUE", help="A librdkafka setting, such as security.protocol=SSL."),
]


class _Admin:
    """An admin client that has reached its cluster."""

    def __init__(self, bootstrap: str | None, more: list[str] | None) -> None:
        from connect.cli import kafka_client

        self.bootstrap = bootstrap_servers(bootstrap)
        self.client: AdminClient = kafka_client.admin_client(
            kafka_client.settings(self.bootstrap, more or ())
        )
        self.topics: dict[str, TopicMetadata] = kafka_client.metadata(self.client, self.bootstrap).topics

    def topic(self, name: str) -> "TopicMetadata":
        if name not in self.topics:
            raise Failure(f"topic {name} does not exist")
        return self.topics[name]

    def wait(self, futures: dict[Any, Any], what: str) -> dict[Any, Any]:
        """The results by topic; `Failure` with the broker's words at the first refusal."""
        from confluent_kafka import KafkaException

        from connect.cli import kafka_client

        results = {}
        for key, future in futures.items():
            try:
                results[key] = future.result(kafka_client.TIMEOUT_SECONDS)
            except KafkaException as exc:
                kafka_client.fail(exc, f"{what} {getattr(key, 'topic', key)}")
        return results


@app.command("list")
def list_topics(
    internal: Annotated[
        bool, typer.Option("--internal", help="Those whose name begins with __ too.")
    ] = False,
    bootstrap: Bootstrap = None,
    client: ClientSettings = None,
    output: Output = Format.TABLE,
) -> None:
    """All topics."""
    found = [
        {"name": name, "partitions": len(topic.partitions), "replicas": _replicas(topic)}
        for name, topic in sorted(_Admin(bootstrap, client).topics.items())
        if internal or not name.startswith("__")
    ]
    show(output, found, ("NAME", "PARTITIONS", "REPLICAS"), (one.values() for one in found))


def _replicas(topic: "TopicMetadata") -> int:
    return min((len(partition.replicas) for partition in topic.partitions.values()), default=0)


@app.command()
def create(
    names: Annotated[list[str], typer.Argument(help="Names of the topics.", show_default=False)],
    partitions: Annotated[
        int, typer.Option("--partitions", "-p", help="How many; -1: the broker's default.", min=-1)
    ] = -1,
    replicas: Annotated[
        int, typer.Option("--replicas", "-r", help="Copies of each; -1: the broker's default.", min=-1)
    ] = -1,
    config: Annotated[
        list[str] | None,
        typer.Option("--config", "-c", metavar="NAME=VALUE", help="A topic config, such as retention.ms."),
    ] = None,
    bootstrap: Bootstrap = None,
    client: ClientSettings = None,
    output: Output = Format.TABLE,
) -> None:
    """Create topics."""
    if 0 in (partitions, replicas):
        raise Failure("--partitions and --replicas are at least 1 (or -1 for the broker's default)", USAGE)
    from confluent_kafka.admin import NewTopic

    configs = {}
    for text in config or ():
        name, separator, value = text.partition("=")
        if not separator:
            raise Failure(
                f"--config {text}: write NAME=VALUE, for example --config retention.ms=60000", USAGE
            )
        configs[name] = value
    admin = _Admin(bootstrap, client)
    new = [
        NewTopic(name, num_partitions=partitions, replication_factor=replicas, config=configs)
        for name in names
    ]
    admin.wait(admin.client.create_topics(new), "topic")
    for name in names:
        say(output, {"name": name, "result": "created"}, f"{name} created")


@app.command()
def describe(
    name: Topic, bootstrap: Bootstrap = None, client: ClientSettings = None, output: Output = Format.TABLE
) -> None:
    """Partitions with their offsets, and the configs that differ from the broker's defaults."""
    from confluent_kafka import TopicPartition
    from confluent_kafka.admin import ConfigResource, ConfigSource, OffsetSpec, ResourceType

    admin = _Admin(bootstrap, client)
    topic = admin.topic(name)
    places = [TopicPartition(name, partition) for partition in sorted(topic.partitions)]
    ends = [
        admin.wait(admin.client.list_offsets(dict.fromkeys(places, spec)), "topic")
        for spec in (OffsetSpec.earliest(), OffsetSpec.latest())  # type: ignore[no-untyped-call]  # library
    ]
    partitions = [
        {
            "partition": place.partition,
            "leader": topic.partitions[place.partition].leader,
            "replicas": topic.partitions[place.partition].replicas,
            "start_offset": ends[0][place].offset,
            "end_offset": ends[1][place].offset,
        }
        for place in places
    ]
    resource = ConfigResource(ResourceType.TOPIC, name)
    entries = admin.wait(admin.client.describe_configs([resource]), "topic")[resource]
    configs = {
        entry.name: entry.value
        for entry in entries.values()
        if entry.source == ConfigSource.DYNAMIC_TOPIC_CONFIG.value
    }
    show(
        output,
        {"name": name, "partitions": partitions, "configs": configs},
        ("PARTITION", "LEADER", "REPLICAS", "START OFFSET", "END OFFSET"),
        (one.values() for one in partitions),
    )
    if output is Format.TABLE:
        for key, value in sorted(configs.items()):
            typer.echo(f"{key}={value}")


@app.command()
def delete(
    names: Annotated[list[str], typer.Argument(help="Names of the topics.", show_default=False)],
    bootstrap: Bootstrap = None,
    client: ClientSettings = None,
    output: Output = Format.TABLE,
) -> None:
    """Delete topics and all that is in them."""
    admin = _Admin(bootstrap, client)
    for name in names:
        admin.topic(name)
    admin.wait(admin.client.delete_topics(names, operation_timeout=10), "topic")
    for name in names:
        say(output, {"name": name, "result": "deleted"}, f"{name} deleted")
