"""The transforms of a connector, as its properties declare them.

    transforms=unwrap,route
    transforms.route.type=org.apache.kafka.connect.transforms.RegexRouter
    transforms.route.regex=(.*)
    transforms.route.predicate=isOrder
    predicates=isOrder
    predicates.isOrder.type=org.apache.kafka.connect.transforms.predicates.TopicNameMatches

A transform with a predicate is applied to the records that it is true for, with `negate=true` to the
others; the rest pass unchanged.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from connect.api import Config, ConfigError, Plugin, Predicate, Transform, setting

# The settings of the chain itself, which a transform or predicate does not see.
_OWN: Final = frozenset(("type", "plugin.version", "predicate", "negate"))

Find = Callable[[str], type[Plugin]]
Step = Callable[[Any], Any]
_BASES: Final[Mapping[str, type]] = {"transforms": Transform, "predicates": Predicate}


class _ChainConfig(Config):
    transforms: list[str] = setting("transforms", default=[])
    predicates: list[str] = setting("predicates", default=[])


class _StepConfig(Config):
    type: str = setting("type")
    predicate: str | None = setting("predicate", default=None)
    negate: bool = setting("negate", default=False)


class TransformChain:
    """Applies transforms one after the other."""

    __slots__ = ("_steps", "_transforms", "predicates")

    def __init__(
        self,
        steps: Mapping[str, Step],
        transforms: list[Transform[Any]],
        predicates: Mapping[str, Predicate[Any]],
    ) -> None:
        self._steps = list(steps.items())
        self._transforms = transforms
        self.predicates = predicates

    def apply(self, record: Any) -> Any:
        """The record as it comes out, None if a transform dropped it. Errors are told which transform
        they are from by a note."""
        at = ""
        try:
            for alias, step in self._steps:
                at = alias
                record = step(record)
                if record is None:
                    return None
        except Exception as exc:
            exc.add_note(f"in the transform {at}")
            raise
        return record

    @property
    def steps(self) -> list[tuple[Transform[Any], Step]]:
        """Each transform with what applies it where its predicate says so, for who runs them one by one."""
        return [(t, step) for t, (_, step) in zip(self._transforms, self._steps, strict=True)]

    @property
    def transforms(self) -> dict[str, Transform[Any]]:
        """By their aliases, in their order."""
        return {alias: t for t, (alias, _) in zip(self._transforms, self._steps, strict=True)}

    def close(self) -> None:
        """Close all transforms."""
        for transform in self._transforms:
            transform.close()


def build_chain(
    properties: Mapping[str, str | None], find_transform: Find, find_predicate: Find
) -> TransformChain | None:
    """The chain that a connector's properties ask for, None without transforms.

    `find_transform` and `find_predicate` give the class for a Java class name or alias. Raises
    `ConfigError`, whose text names the setting.
    """
    config = _ChainConfig.parse({name: properties.get(name) for name in ("transforms", "predicates")})
    if not config.transforms:
        return None
    predicates = {
        alias: _made("predicates", alias, properties, find_predicate)
        for alias in _unique("predicates", config.predicates)
    }
    steps: dict[str, Step] = {}
    transforms: list[Transform[Any]] = []
    for alias in _unique("transforms", config.transforms):
        transform = _made("transforms", alias, properties, find_transform)
        transforms.append(transform)
        steps[alias] = _step(alias, properties, transform, predicates)
    return TransformChain(steps, transforms, predicates)


def _unique(setting_name: str, aliases: list[str]) -> list[str]:
    if len(set(aliases)) < len(aliases) or "" in aliases:
        why = "aliases must be different from each other, and not empty"
        raise ConfigError.invalid(setting_name, ",".join(aliases), why)
    return aliases


def _settings(properties: Mapping[str, str | None], prefix: str) -> dict[str, str]:
    return {
        name.removeprefix(prefix): value
        for name, value in properties.items()
        if name.startswith(prefix) and value is not None
    }


def _made(what: str, alias: str, properties: Mapping[str, str | None], find: Find) -> Any:
    """The transform or predicate of an alias, configured."""
    prefix = f"{what}.{alias}."
    settings = _settings(properties, prefix)
    if "type" not in settings:
        raise ConfigError(f'Missing required configuration "{prefix}type" which has no default value.')
    class_name = settings["type"].strip()
    try:
        found = find(class_name)
    except ConfigError as exc:
        raise ConfigError.invalid(f"{prefix}type", class_name, str(exc)) from None
    base = _BASES[what]
    if not issubclass(found, base):
        raise ConfigError.invalid(f"{prefix}type", class_name, f"the class is not a {base.__name__}")
    plugin: Any = found()
    try:
        plugin.configure({name: value for name, value in settings.items() if name not in _OWN})
    except ConfigError as exc:
        raise ConfigError(f"{prefix[:-1]}: {exc}") from None
    return plugin


def _step(
    alias: str,
    properties: Mapping[str, str | None],
    transform: Transform[Any],
    predicates: Mapping[str, Predicate[Any]],
) -> Step:
    """The transform, applied only where its predicate says so."""
    prefix = f"transforms.{alias}."
    try:
        config = _StepConfig.parse(_settings(properties, prefix))
    except ConfigError as exc:
        raise ConfigError(f"{prefix[:-1]}: {exc}") from None
    if config.predicate is None:
        if config.negate:
            why = f"there is no config '{prefix}predicate' defining a predicate to be negated"
            raise ConfigError.invalid(f"{prefix}negate", "true", why)
        return transform.apply
    if config.predicate not in predicates:
        why = f"predicates declares no such alias, only [{', '.join(predicates)}]"
        raise ConfigError.invalid(f"{prefix}predicate", config.predicate, why)
    test, apply, wanted = predicates[config.predicate].test, transform.apply, not config.negate
    return lambda record: apply(record) if test(record) is wanted else record
