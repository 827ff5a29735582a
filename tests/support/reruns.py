"""A failed test is run once more where real processes and deadlines are involved.

Kafka's own build does so (`maxTestRetries=1`) and lists what passed the second time, as `-rR` does here.
"""

import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
from pytest_timeout import _get_item_settings

# What hung has used up the time of two attempts.
ONCE_MORE = pytest.mark.flaky(reruns=1, rerun_except=r"Timeout \(>")


class Reruns:
    """A plugin that marks the tests in `folders`.

    Fixtures of every scope are made anew for a second attempt, so that it meets no server that the first one
    has broken.
    """

    def __init__(self, folders: Collection[Path]) -> None:
        self._folders = folders
        self._open: dict[pytest.FixtureDef[Any], pytest.FixtureRequest] = {}

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        if any(item.path.is_relative_to(folder) for folder in self._folders):
            item.add_marker(ONCE_MORE)

    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> None:
        self._open[fixturedef] = request

    def pytest_fixture_post_finalizer(self, fixturedef: pytest.FixtureDef[Any]) -> None:
        self._open.pop(fixturedef, None)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        if getattr(item, "execution_count", 1) == 1:
            return
        for fixture, request in reversed(self._open.copy().items()):
            try:
                fixture.finish(request)  # type: ignore[arg-type]  # a fixture's own request is a SubRequest
            except Exception as error:  # noqa: BLE001  a broken server may not stop as it should
                warnings.warn(f"{item.nodeid}: closing {fixture.argname}: {error!r}", stacklevel=1)
        # The timer of the first attempt ended with its failure.
        if (timer := _get_item_settings(item)).timeout:
            item.config.hook.pytest_timeout_set_timer(item=item, settings=timer)
