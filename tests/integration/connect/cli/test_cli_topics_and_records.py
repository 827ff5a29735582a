"""`millstream topics`, `produce` and `consume` against a broker."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.cli import Ran, millstream

from connect.testing.child import free_ports
from connect.testing.millstream import Broker

Cli = Callable[..., Ran]


@pytest.fixture
def cli(broker: Broker) -> Cli:
    def run(*arguments: str, **rest: Any) -> Ran:
        return millstream(*arguments, environment={"MILLSTREAM_BOOTSTRAP": broker.bootstrap}, **rest)

    return run


@pytest.fixture
def topic(cli: Cli, kafka_topic: str) -> str:
    assert cli("topics", "create", kafka_topic, "--partitions", "2").code == 0
    return kafka_topic


def lines(ran: Ran) -> list[Any]:
    assert ran.code == 0, ran.err
    return [json.loads(line) for line in ran.out.splitlines()]


def test_topics_are_created_listed_described_and_deleted(cli: Cli, kafka_topic: str) -> None:
    created = cli("topics", "create", kafka_topic, "-p", "3", "-c", "retention.ms=60000", "-o", "json")
    assert created.json == {"name": kafka_topic, "result": "created"}
    listed = {one["name"]: one for one in cli("topics", "list", "-o", "json").json}
    assert listed[kafka_topic] == {"name": kafka_topic, "partitions": 3, "replicas": 1}
    described = cli("topics", "describe", kafka_topic, "-o", "json").json
    assert [one["partition"] for one in described["partitions"]] == [0, 1, 2]
    assert described["configs"] == {"retention.ms": "60000"}
    assert cli("topics", "delete", kafka_topic).out == f"{kafka_topic} deleted\n"
    gone = cli("topics", "describe", kafka_topic)
    assert (gone.code, gone.err) == (1, f"millstream: topic {kafka_topic} does not exist\n")


def test_a_topic_that_exists_is_a_failure(cli: Cli, topic: str) -> None:
    again = cli("topics", "create", topic)
    assert again.code == 1
    assert "TOPIC_ALREADY_EXISTS" in again.err


def test_a_table_in_a_pipe_is_a_line_per_row(cli: Cli, topic: str) -> None:
    rows = [line.split() for line in cli("topics", "list").out.splitlines()]
    assert rows[0] == ["NAME", "PARTITIONS", "REPLICAS"]
    assert [topic, "2", "1"] in rows


def test_records_from_stdin_are_shown_with_all_that_they_have(cli: Cli, topic: str) -> None:
    produced = cli(
        "produce", topic, "-p", "1", "-K", ":", "-H", "trace=7", "-o", "json", stdin="a:one\nb:two\n"
    )
    assert produced.json == {
        "topic": topic,
        "records": 2,
        "partitions": [{"partition": 1, "records": 2, "first_offset": 0, "last_offset": 1}],
    }
    first, second = lines(cli("consume", topic, "--from-beginning", "-n", "2", "--json"))
    assert first.pop("timestamp") > 1_700_000_000_000
    assert first == {
        "topic": topic,
        "partition": 1,
        "offset": 0,
        "key": "a",
        "value": "one",
        "headers": [{"key": "trace", "value": "7"}],
    }
    assert (second["key"], second["value"]) == ("b", "two")


def test_records_from_arguments_and_from_a_file(cli: Cli, topic: str, tmp_path: Path) -> None:
    file = tmp_path / "lines.txt"
    file.write_text("three\r\nfour\n")
    assert cli("produce", topic, "one", "two", "-k", "k", "-p", "0").code == 0
    assert cli("produce", topic, "--file", str(file), "-p", "0").code == 0
    shown = lines(cli("consume", topic, "--from-beginning", "-n", "4", "--json"))
    assert [(one["key"], one["value"]) for one in shown] == [
        ("k", "one"),
        ("k", "two"),
        (None, "three"),
        (None, "four"),
    ]


def test_a_text_line_has_place_time_key_value_and_headers(cli: Cli, topic: str) -> None:
    cli("produce", topic, "v", "-k", "k", "-H", "h=x", "-p", "0")
    shown = cli("consume", topic, "--from-beginning", "-n", "1").out.split()
    assert shown[0] == "0:0"
    assert shown[1].endswith("Z")
    assert shown[2:] == ["k", "v", "h=x"]


def test_consuming_from_an_offset_of_a_partition(cli: Cli, topic: str) -> None:
    cli("produce", topic, "a", "b", "c", "-p", "1")
    ran = cli("consume", topic, "-p", "1", "--offset", "1", "-n", "2", "--json")
    assert [one["offset"] for one in lines(ran)] == [1, 2]


def test_a_group_goes_on_where_it_was(cli: Cli, topic: str) -> None:
    cli("produce", topic, "a", "b", "c", "-p", "0")
    read = ("consume", topic, "--group", f"g-{topic}", "--from-beginning", "--json")
    assert [one["value"] for one in lines(cli(*read, "-n", "2"))] == ["a", "b"]
    assert [one["value"] for one in lines(cli(*read, "-n", "1"))] == ["c"]


def test_too_few_records_in_time_is_a_failure(cli: Cli, topic: str) -> None:
    cli("produce", topic, "a")
    ran = cli("consume", topic, "--from-beginning", "-n", "5", "--timeout-ms", "3000", "--json")
    assert ran.code == 1
    assert len(ran.out.splitlines()) == 1
    assert "1 of 5 records came before 3000 ms without one" in ran.err


def test_a_timeout_without_a_number_is_the_normal_end(cli: Cli, topic: str) -> None:
    cli("produce", topic, "a")
    assert len(lines(cli("consume", topic, "--from-beginning", "--timeout-ms", "3000", "--json"))) == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("consume", "t", "--offset", "1"), "--offset needs --partition"),
        (("consume", "t", "-g", "g", "-p", "0"), "give --group or --partition, not both"),
        (("produce", "t", "-k", "a", "-K", ":"), "give --key or --key-separator, not both"),
        (("produce", "t", "-H", "x", "v"), "--header x: write NAME=VALUE"),
        (("topics", "create", "t", "-c", "x"), "--config x: write NAME=VALUE"),
        (("topics", "list", "-X", "x"), "-X x: write NAME=VALUE"),
        (("topics", "list", "-X", "no.such=1"), "a Kafka client setting was refused"),
    ],
)
def test_bad_options_are_one_sentence_and_exit_code_2(
    cli: Cli, arguments: tuple[str, ...], sentence: str
) -> None:
    ran = cli(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert sentence in ran.err
    assert ran.err.count("\n") == 1


def test_a_line_without_the_key_separator(cli: Cli, topic: str) -> None:
    ran = cli("produce", topic, "-K", ":", stdin="a:1\nnothing\n")
    assert (ran.code, ran.err) == (2, "millstream: no key separator ':' in line 'nothing'\n")


def test_no_broker_is_one_sentence(kafka_topic: str) -> None:
    nobody = f"127.0.0.1:{free_ports(1)[0]}"
    ran = millstream("topics", "list", "--bootstrap", nobody)
    assert ran.code == 1
    assert ran.err == (
        f"millstream: no Kafka broker answers at {nobody}: start one with `millstream up`, "
        "or say where it is with --bootstrap or MILLSTREAM_BOOTSTRAP\n"
    )


def test_the_ports_of_the_data_directory_are_found(broker: Broker, tmp_path: Path) -> None:
    (tmp_path / "millstream-data").mkdir()
    (tmp_path / "millstream-data" / "ports.json").write_text(json.dumps({"kafka": broker.port, "rest": 1}))
    assert millstream("topics", "list", directory=tmp_path).code == 0
