"""What holds for every plugin: it can be made and found, and its settings are declared well."""

import pickle
import re
from collections.abc import Mapping
from typing import Any, ClassVar, Final

import pytest

from connect.api import Config, ConfigError, ConfigProvider, Connector, FieldError, Kind, Plugin

_NONSENSE: Final = "no such value"
_TYPED: Final = (Kind.BOOLEAN, Kind.SHORT, Kind.INT, Kind.LONG, Kind.DOUBLE)
_SECRET: Final = re.compile(r".*(password|passwd|secret|token)")


class PluginTests:
    """The base of all: `plugin` is the class, `properties` settings that are right."""

    plugin: ClassVar[type[Plugin]]

    @pytest.fixture
    def properties(self) -> Mapping[str, str]:
        """Settings that are right, as in a connector's config (without `transforms.<alias>.` and the like).
        Override it; whatever the plugin needs outside is to be there then, fresh for each test."""
        return {}

    def examine(self, properties: Mapping[str, str]) -> tuple[Config | None, list[FieldError]]:
        """The config of these properties and what is wrong with them."""
        return self.plugin.config_class.examine(properties)

    def test_it_can_be_made_and_is_found_by_its_name(self) -> None:
        self.plugin()
        # By reference: the module and name that a task process imports.
        assert pickle.loads(pickle.dumps(self.plugin)) is self.plugin

    def test_it_has_a_version(self) -> None:
        assert isinstance(self.plugin.version, str)
        assert self.plugin.version

    def test_every_setting_is_documented(self) -> None:
        definitions = self.plugin.config_class.definitions().values()
        assert [d.name for d in definitions if not d.internal and not d.doc] == []

    def test_defaults_are_values_that_would_be_taken(self) -> None:
        for definition in self.plugin.config_class.definitions().values():
            if definition.required or definition.default is None or definition.kind is Kind.PASSWORD:
                continue
            shown = definition.show(definition.default)
            assert definition.read(shown) == definition.default, definition.name

    def test_secrets_are_declared_as_secrets(self) -> None:
        """So that no answer and no log shows them: annotate them as `SecretStr`."""
        definitions = self.plugin.config_class.definitions().values()
        open_ones = [
            d.name for d in definitions if _SECRET.fullmatch(d.name) and d.kind in (Kind.STRING, Kind.LIST)
        ]
        assert open_ones == []

    def test_the_properties_are_taken(self, properties: Mapping[str, str]) -> None:
        config, errors = self.examine(properties)
        assert errors == []
        assert config is not None
        assert config.originals == properties

    def test_a_missing_setting_is_named(self, properties: Mapping[str, str]) -> None:
        for definition in self.plugin.config_class.definitions().values():
            if definition.required:
                self.expect_error(
                    definition.name, {k: v for k, v in properties.items() if k != definition.name}
                )

    def test_a_value_of_the_wrong_type_is_named(self, properties: Mapping[str, str]) -> None:
        for definition in self.plugin.config_class.definitions().values():
            if definition.kind in _TYPED and not definition.internal:
                self.expect_error(definition.name, {**properties, definition.name: _NONSENSE}, _NONSENSE)

    def expect_error(self, name: str, properties: Mapping[str, str], shown: str = "") -> None:
        """These properties are refused, for the setting of this name, with a text that tells the value."""
        _, errors = self.examine(properties)
        messages = [error.message for error in errors if error.name == name]
        assert messages, f"nothing was said about {name}, only {errors}"
        assert name in messages[0]
        assert shown in messages[0]


class ConnectorTests(PluginTests):
    """What holds for sources and sinks. `tasks_max` is how many tasks the tests run with."""

    plugin: ClassVar[type[Connector[Any]]]
    tasks_max: ClassVar[int] = 1

    @pytest.fixture
    def properties(self) -> Mapping[str, str]:
        raise NotImplementedError(
            f"{type(self).__name__} needs a fixture `properties`: the settings of a connector that works"
        )

    def test_it_splits_its_work_into_task_configs(self, properties: Mapping[str, str]) -> None:
        config = self.plugin.config_class.parse(properties)
        for tasks_max in (1, 3):
            made = list(self.plugin().task_configs(config, tasks_max))
            assert len(made) <= tasks_max
            for task in made:
                assert all(isinstance(part, str) for pair in task.items() for part in pair), task
                assert self.examine(dict(task))[1] == []
            assert list(self.plugin().task_configs(config, tasks_max)) == made, "the same config, other tasks"
        assert config.originals == properties, "task_configs changed the config"

    def test_it_can_reach_what_the_properties_name(self, properties: Mapping[str, str]) -> None:
        config = self.plugin.config_class.parse(properties)
        assert list(self.plugin().check_connection(config)) == []

    def test_a_task_can_stop_that_was_never_started(self) -> None:
        """The runtime stops a task whose `start` failed, on its first line or its last."""
        self.plugin.task_class().stop()


class ConfigProviderTests(PluginTests):
    """For config providers. `known` is (path, key, value) that it finds with `properties`."""

    plugin: ClassVar[type[ConfigProvider]]
    missing_key: ClassVar[str] = "no-such-key"

    @pytest.fixture
    def known(self) -> tuple[str, str, str]:
        """A path, a key under it, and its value. Override it."""
        raise NotImplementedError(f"{type(self).__name__} needs a fixture `known`: (path, key, value)")

    def test_it_finds_what_is_there_and_leaves_out_what_is_not(
        self, properties: Mapping[str, str], known: tuple[str, str, str]
    ) -> None:
        path, key, value = known
        provider = self.plugin()
        provider.configure(properties)
        assert provider.get(path, [key, self.missing_key]) == {key: value}
        assert provider.get(path, []) == {}

    def test_it_refuses_wrong_settings(self, properties: Mapping[str, str]) -> None:
        expect_configure_refuses(self.plugin, properties)


def expect_configure_refuses(plugin: Any, properties: Mapping[str, str], *arguments: Any) -> None:
    """`configure` says the same as the declared settings: what they refuse, it refuses."""
    for definition in plugin.config_class.definitions().values():
        wrong: dict[str, str] | None = None
        if definition.required:
            wrong = {name: value for name, value in properties.items() if name != definition.name}
        elif definition.kind in _TYPED:
            wrong = {**properties, definition.name: _NONSENSE}
        if wrong is not None:
            with pytest.raises(ConfigError, match=re.escape(definition.name)):
                plugin().configure(wrong, *arguments)
