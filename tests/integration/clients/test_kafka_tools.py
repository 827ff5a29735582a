"""Apache Kafka's own command-line tools against the bundled broker: they print what they print with Kafka.

The sessions in `golden/tools` were recorded on Apache Kafka 4.3.1 (`support/record_transcripts.py`).
"""

import uuid
from collections.abc import Iterator
from difflib import ndiff
from pathlib import Path

import pytest
from support.java import JavaTools, needs_java
from support.transcript import Session, parse

from connect.testing.millstream import Broker

SESSIONS = Path(__file__).parents[2] / "golden" / "tools"
pytestmark = needs_java()


@pytest.fixture(scope="module")
def tools() -> Iterator[JavaTools]:
    with JavaTools() as running:
        yield running


@pytest.mark.parametrize("name", sorted(file.stem for file in SESSIONS.glob("*.txt")))
def test_tools_print_what_they_print_with_apache_kafka(
    name: str, tools: JavaTools, broker: Broker, tmp_path: Path
) -> None:
    session = Session(tools, broker.bootstrap, f"t{uuid.uuid4().hex[:8]}-", tmp_path)
    differences = []
    try:
        for step in parse((SESSIONS / f"{name}.txt").read_text()):
            printed = session.perform(step)
            if printed != step.expected:
                compared = (line for line in ndiff(step.expected, printed) if line[0] in "-+")
                differences.append("\n".join([step.command, *compared]))
    finally:
        session.close()
    assert not differences, "Apache Kafka (-), Millstream (+):\n" + "\n\n".join(differences)


def test_kafkas_compatibility_test_of_clients_succeeds(
    tools: JavaTools, broker: Broker, kafka_topic: str
) -> None:
    expected = {
        "--offsets-for-times-supported": "True",
        "--cluster-id-supported": "True",
        "--expect-record-too-large-exception": "False",
        "--num-cluster-nodes": "1",
        "--create-topics-supported": "True",
        "--describe-acls-supported": "False",  # not there yet
        "--describe-configs-supported": "True",
        "--idempotent-producer-supported": "True",
    }
    arguments = {"--bootstrap-server": broker.bootstrap, "--topic": kafka_topic} | expected
    ran = tools.run(
        "org.apache.kafka.tools.ClientCompatibilityTest",
        [word for pair in arguments.items() for word in pair],
    )
    assert (ran.exit_code, ran.out.splitlines()[-1:]) == (0, ["SUCCESS."]), f"{ran.out}\n{ran.err}"
