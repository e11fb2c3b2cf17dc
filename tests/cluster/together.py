"""Tests that wait for the most part, so several are under way at a time, each in a namespace of its own."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from benchmarks import described, restricted_namespace
from kube import Cluster
from recorder import Recorder

AT_A_TIME = 4
"""More on two CPUs, and each takes so much longer."""
Way = Callable[..., None]


class Together(dict[str, Way]):
    """Tests by their names: a decorator of functions, which get `cluster`, `recorder`, `namespace` and what else is given.

    As with fixtures a function's parameters say which of them it wants.
    """

    def __call__(self, way: Way) -> Way:
        self[way.__name__] = way
        return way

    @contextmanager
    def under_way(
        self, names: Iterable[str], cluster: Cluster, recorder: Recorder, **given: Any
    ) -> Iterator[dict[str, Future[None]]]:
        """Start those of these names, in the order of the file; a future raises what its test raised."""
        chosen = set(names)
        pool = ThreadPoolExecutor(AT_A_TIME)
        everything = {"cluster": cluster, "recorder": recorder, **given}
        try:
            yield {name: pool.submit(_play, way, everything) for name, way in self.items() if name in chosen}
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _play(way: Way, everything: dict[str, Any]) -> None:
    with restricted_namespace(everything["cluster"]) as space:
        given = {**everything, "namespace": space}
        try:
            way(**{name: given[name] for name in inspect.signature(way).parameters})
            # Before the claims are taken away.
            everything["recorder"].assert_nothing_is_found()
        except BaseException as error:
            error.add_note(described(space))
            raise
