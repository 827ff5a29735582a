"""What the runtime relies on in a plugin, as tests that its author runs.

Derive a class whose name begins with `Test`, say what the plugin is and how to set it up, and pytest runs
what is inherited:

    from connect.testing.conformance import SourceConnectorTests

    class TestLines(SourceConnectorTests):
        plugin = LinesSourceConnector
        records_expected = 20

        @pytest.fixture
        def properties(self, tmp_path: Path) -> dict[str, str]:
            (tmp_path / "in.txt").write_text("".join(f"line {n}\\n" for n in range(20)))
            return {"file": str(tmp_path / "in.txt"), "topic": "lines"}

Needs pytest, and neither Kafka nor a worker: tasks run in the test's process (`connect.testing.tasks`).
"""

from connect.testing.conformance.converter import ConverterTests, HeaderConverterTests
from connect.testing.conformance.plugin import ConfigProviderTests, PluginTests
from connect.testing.conformance.sink import SinkConnectorTests
from connect.testing.conformance.source import SourceConnectorTests
from connect.testing.conformance.transform import PredicateTests, TransformTests

__all__ = [
    "ConfigProviderTests",
    "ConverterTests",
    "HeaderConverterTests",
    "PluginTests",
    "PredicateTests",
    "SinkConnectorTests",
    "SourceConnectorTests",
    "TransformTests",
]
