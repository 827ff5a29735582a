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
        try:
            java_replacement(self.replacement, compile_java(self.regex))
        except ValueError as exc:
            why = ConfigError.invalid("replacement", self.replacement, str(exc))
            yield FieldError("replacement", str(why))


class RegexRouter(Transform[R]):
    """If the whole topic matches, the topic becomes the replacement (`$1`, `${name}` are groups)."""

    version = __version__
    config_class = RegexRouterConfig

    def configure(self, properties: Mapping[str, str]) -> None:
        config = RegexRouterConfig.parse(properties)
        self._pattern = compile_java(config.regex)
        self._replacement = java_replacement(config.replacement, self._pattern)
        # A task sees the same few topics again and again.
        self._known: dict[str, str] = {}

    def apply(self, record: R) -> R:
        topic = self._known.get(record.topic)
        if topic is None:
            topic = self._renamed(record.topic)
            if len(self._known) < _TOPICS_MAX:
                self._known[record.topic] = topic
        return record if topic == record.topic else record.replace(topic=topic)

    def _renamed(self, topic: str) -> str:
        match = self._pattern.fullmatch(topic)
        if match is None:
            return topic
        # As Java's replaceFirst: the first match, which need not be the whole topic.
        return self._pattern.sub(self._replacement, topic, count=1)
