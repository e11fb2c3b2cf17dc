"""The run's metrics for a Pushgateway, at the end: for clusters that do not scrape pods as short-lived as runners."""

import asyncio
import logging
from functools import partial
from http.client import HTTPException

from prometheus_client import push_to_gateway

from perfbench_api.outcome import Outcome
from perfbench_runner.observe.observer import Observer
from perfbench_runner.observe.prometheus import Metrics

JOB = "perfbench"
TIMEOUT_S = 5.0
LOG = logging.getLogger(__name__)


class Push(Observer):
    """Pushes when the run is over. A gateway that does not take it is told in the log: the results are stored."""

    def __init__(self, url: str, metrics: Metrics) -> None:
        self._url, self._metrics = url, metrics

    async def close(self, outcome: Outcome) -> None:
        """Replace what an earlier run of this benchmark left there."""
        push = partial(
            push_to_gateway,
            self._url,
            job=JOB,
            registry=self._metrics.registry,
            grouping_key=self._metrics.identity,
            timeout=TIMEOUT_S,
        )
        try:
            await asyncio.get_running_loop().run_in_executor(None, push)
        except (OSError, ValueError, HTTPException) as error:
            LOG.warning("cannot push metrics to %s: %s", self._url, error)
