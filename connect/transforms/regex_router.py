"""RegexRouter: renames topics by a regular expression."""

from collections.abc import Iterable, Mapping

from connect.api import Config, ConfigError, FieldError, Importance, Transform, setting
from connect.api.java_regex import compile_java, java_replacement, regex_error
from connect.transforms.base import R
from connect.version import __version__

_TOPICS_MAX = 1024


class RegexRouterConfig(Config):
    """Settings of RegexRouter."""

    regex: str = setting(
        "regex", importance=Importance.HIGH, check=regex_error, doc="Regular expression to use for matching."
    )
    replacement: str = setting("replacement", importance=Importance.HIGH, doc="Replacement string.")

    def check(self) -> Iterable[FieldError]:
        return replacement_errors("replacement", self.replacement, self.regex)


def replacement_errors(name: str, replacement: str, regex: str) -> Iterable[FieldError]:
    """What is wrong with the setting `name`: a group that the regular expression does not have."""
    try:
        java_replacement(replacement, compile_java(regex))
    except ValueError as exc:
        yield FieldError(name, str(ConfigError.invalid(name, replacement, str(exc))))


class Renaming:
    """Other names for names that match a regular expression as a whole. The last few are kept."""

    def __init__(self, regex: str, replacement: str, names_max: int = _TOPICS_MAX) -> None:
        self._pattern = compile_java(regex)
        self._replacement = java_replacement(replacement, self._pattern)
        self._names_max = names_max
        # A task sees the same few topics again and again.
        self._known: dict[str, str | None] = {}

    def __call__(self, name: str) -> str | None:
        """The new name; None where the expression does not match."""
        if name in self._known:
            return self._known[name]
        # As Java's replaceFirst: the first match, which need not be the whole name.
        is_match = self._pattern.fullmatch(name) is not None
        renamed = self._pattern.sub(self._replacement, name, count=1) if is_match else None
        if len(self._known) < self._names_max:
            self._known[name] = renamed
        return renamed


class RegexRouter(Transform[R]):
    """If the whole topic matches, the topic becomes the replacement (`$1`, `${name}` are groups)."""

    version = __version__
    config_class = RegexRouterConfig

    def configure(self, properties: Mapping[str, str]) -> None:
        config = RegexRouterConfig.parse(properties)
        self._renaming = Renaming(config.regex, config.replacement)

    def apply(self, record: R) -> R:
        topic = self._renaming(record.topic)
        return record if topic is None or topic == record.topic else record.replace(topic=topic)
