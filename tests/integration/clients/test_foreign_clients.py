"""Console clients against the bundled broker, unchanged: write, read, commit, resume.

Each needs its own tool (kcat, a Java runtime with Maven); CI installs them, elsewhere a missing one is a skip
that names it.
"""

import shutil
import subprocess

import pytest

from connect.testing.kafka import KAFKA_VERSION, fetch_jars
from connect.testing.millstream import Broker


def run(*command: str, stdin: str = "") -> str:
    """Its standard output; fails with its standard error."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def needs(*tools: str) -> pytest.MarkDecorator:
    missing = [tool for tool in tools if shutil.which(tool) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


@needs("kcat")
def test_kcat_writes_keys_and_headers_and_resumes_in_a_group(broker: Broker, kafka_topic: str) -> None:
    lines = "".join(f"k{n}:value {n}\n" for n in range(20))
    run(
        "kcat",
        "-b",
        broker.bootstrap,
        "-P",
        "-t",
        kafka_topic,
        "-K:",
        "-H",
        "who=kcat",
        "-z",
        "zstd",
        stdin=lines,
    )

    read = run(
        "kcat", "-b", broker.bootstrap, "-C", "-t", kafka_topic, "-e", "-q", "-f", "%o %k %s %h\n", "-o", "5"
    )
    assert read.splitlines() == [f"{n} k{n} value {n} who=kcat" for n in range(5, 20)]

    group = ["kcat", "-b", broker.bootstrap, "-G", f"group-{kafka_topic}", "-q"]
    group += ["-X", "auto.offset.reset=earliest", "-c", "8", kafka_topic]
    first, second = run(*group), run(*group)
    assert first.splitlines() + second.splitlines() == [f"value {n}" for n in range(16)]


@needs("java", "mvn")
def test_javas_console_producer_and_consumer_write_read_commit_and_resume(
    broker: Broker, kafka_topic: str
) -> None:
    jars = fetch_jars(f"kafka-{KAFKA_VERSION}")

    def java(main_class: str, *arguments: str, stdin: str = "") -> str:
        return run("java", "-Xmx256M", "-cp", f"{jars}/*", main_class, *arguments, stdin=stdin)

    server = ["--bootstrap-server", broker.bootstrap]
    java(
        "org.apache.kafka.tools.TopicCommand",
        *server,
        "--create",
        "--topic",
        kafka_topic,
        "--partitions",
        "1",
    )
    java(
        "org.apache.kafka.tools.ConsoleProducer", *server, "--topic", kafka_topic,
        stdin="".join(f"line {n}\n" for n in range(10)),
    )  # fmt: skip
    consume = ["org.apache.kafka.tools.consumer.ConsoleConsumer", *server, "--topic", kafka_topic,
               "--group", f"group-{kafka_topic}", "--timeout-ms", "20000"]  # fmt: skip
    earliest = ["--command-property", "auto.offset.reset=earliest"]
    first = java(*consume, *earliest, "--max-messages", "4")
    second = java(*consume, *earliest, "--max-messages", "6")
    assert first.splitlines() + second.splitlines() == [f"line {n}" for n in range(10)]

    described = java(
        "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", *server, "--describe",
        "--group", f"group-{kafka_topic}",
    )  # fmt: skip
    row = next(line.split() for line in described.splitlines() if kafka_topic in line.split())
    assert row[2:6] == ["0", "10", "10", "0"], described  # partition, current offset, end offset, lag
