"""What can be wrong with the settings that say what events look like."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from connect.api import ConfigError, FieldError
from connect.api.java_regex import compile_java, java_replacement
from connectors.postgres.keys import KeyColumns
from connectors.postgres.mask_rules import mask_rules
from connectors.postgres.reselect_settings import reselect_settings

if TYPE_CHECKING:  # the config itself is what asks
    from connectors.postgres.config import PostgresSourceConfig

REGEX_NAMING: Final = "io.debezium.schema.SchemaRegexTopicNamingStrategy"


def check_events(config: "PostgresSourceConfig") -> Iterable[FieldError]:
    """Everything that is wrong with masks, keys, names, placeholders and Java classes."""
    for name, value in config.originals.items():
        try:
            mask_rules({name: value})
        except ConfigError as exc:
            yield FieldError(name, str(exc))
    try:
        KeyColumns(config.message_key_columns)
    except ValueError as exc:
        yield config.error("message_key_columns", str(exc))
    try:
        reselect_settings(config.post_processors, config.originals)
    except ConfigError as exc:
        yield FieldError("post.processors", str(exc))
    try:
        config.placeholder_bytes.decode()
    except ValueError:
        yield config.error("placeholder", "behind hex: must stand the hexadecimal digits of UTF-8")
    if config.converters:
        yield config.error(
            "converters",
            "they are Java classes, which cannot be loaded: use a transform, and remove the setting",
        )
    yield from _check_naming(config)


def _check_naming(config: "PostgresSourceConfig") -> Iterable[FieldError]:
    wanted = ["topic_key_field_regex"] if config.topic_key_field_regex else []
    if config.topic_naming_strategy == REGEX_NAMING:
        wanted.append("topic_regex")
    for attribute in wanted:
        other = attribute.replace("regex", "replacement")
        regex, replacement = getattr(config, attribute), getattr(config, other)
        if not regex:
            yield config.error(attribute, "SchemaRegexTopicNamingStrategy needs it")
        elif not replacement:
            name = type(config).model_fields[attribute].alias
            yield config.error(other, f"it must be non-empty if {name} is set")
        else:
            try:
                java_replacement(replacement, compile_java(regex))
            except ValueError as exc:
                yield config.error(attribute, str(exc))
