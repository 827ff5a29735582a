"""Work that is done once per schema."""

from collections.abc import Callable
from typing import Final, Generic, TypeVar

from connect.api.schemas import Schema

P = TypeVar("P")

_PLANS_MAX: Final = 128


class PerSchema(Generic[P]):
    """What was worked out for a schema, made on first use and kept for the last `plans_max` schemas.

    Most records have the schema of the one before them: that is the first thing looked at.
    """

    __slots__ = ("_last_plan", "_last_schema", "_make", "_plans", "_plans_max")

    def __init__(self, make: Callable[[Schema], P], plans_max: int = _PLANS_MAX) -> None:
        self._make = make
        self._plans_max = plans_max
        self._plans: dict[Schema, P] = {}
        self._last_schema: Schema | None = None
        self._last_plan: P | None = None

    def __call__(self, schema: Schema) -> P:
        if schema is self._last_schema:
            return self._last_plan  # type: ignore[return-value]  # it is set together with _last_schema
        plan = self._plans.get(schema)
        if plan is None:
            plan = self._make(schema)
            while len(self._plans) >= self._plans_max:
                del self._plans[next(iter(self._plans))]
            self._plans[schema] = plan
        self._last_schema, self._last_plan = schema, plan
        return plan
