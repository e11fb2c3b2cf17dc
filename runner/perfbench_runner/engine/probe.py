"""Does the target answer? One short request of each kind before the load: a wrong URL, key or model is told at once."""

from collections.abc import Sequence

from perfbench_api.sections import Load, Target
from perfbench_plugins.exchange import FailureKind
from perfbench_runner.engine import advice
from perfbench_runner.engine.dispatch import Dispatcher
from perfbench_runner.engine.intake import Intake
from perfbench_runner.engine.state import TEST, End, RunState
from perfbench_runner.engine.supervisor import TICK_S, Supervisor
from perfbench_runner.load.requests import Requests
from perfbench_runner.results.result import Result
from perfbench_runner.shard.messages import Lanes, StageShare
from perfbench_runner.shard.request import PreparedRequest
from perfbench_runner.shard.retrying import RetryRule

RETRY_S = 2.0
"""While it waits for the target, it tries this often."""


class Probe:
    """The connection test: tries the target until it answers, or `waitFor` has passed."""

    def __init__(
        self,
        state: RunState,
        feed: Requests,
        supervisor: Supervisor,
        dispatcher: Dispatcher,
        intake: Intake,
        urls: Sequence[str],
    ) -> None:
        self._state, self._feed, self._urls = state, feed, urls
        self._supervisor, self._dispatcher, self._intake = supervisor, dispatcher, intake
        self._result: Result | None = None

    def add(self, result: Result) -> None:
        """The result of the request that was sent last."""
        self._result = result

    async def run(self, target: Target, load: Load) -> End | None:
        """None when the target answers, or when the run is being stopped; else why there is no run."""
        self._state.phase = "waiting"
        until_s = self._state.clock() + (target.wait_for or 0.0)
        for prepared in self._feed.test_requests():
            if end := await self._until_answered(prepared, target, load, until_s):
                return end
        return None

    async def _until_answered(
        self, prepared: PreparedRequest, target: Target, load: Load, until_s: float
    ) -> End | None:
        state, whose = self._state, self._feed.kinds[prepared.kind].whose
        while not state.is_stopping:
            result = await self._try(prepared, load)
            if result is None or result.data.success or result.data.failure == FailureKind.EMPTY:  # of one token
                return None
            kind = result.data.failure
            text = advice.advice(self._urls[prepared.kind], kind, result.data.error)
            state.message = f"{whose}: {text}" if whose else text
            if state.clock() >= until_s or kind in advice.NOT_WORTH_WAITING:
                waited = f" (waited {target.wait_for:g} s)" if target.wait_for else ""
                return End("failed", advice.reason(kind), state.message + waited)
            await self._supervisor.pause(min(RETRY_S, max(0.1, until_s - state.clock())), state)
        return None

    async def _try(self, prepared: PreparedRequest, load: Load) -> Result | None:
        process, state = self._supervisor.shards[0], self._state
        self._result, state.number = None, TEST
        self._intake.begin(TEST)
        state.unmeasured["connection_test"] += 1
        process.lanes, process.is_done = 1, False
        share = StageShare(TEST, Lanes([0.0], []), grace_s=load.grace_period, retry=RetryRule.of(load.retry))
        process.send("stage", share)
        self._dispatcher.assign_one(process, prepared)
        process.send("go", state.clock())
        while not (process.is_done and self._intake.is_empty):
            await self._supervisor.change(TICK_S)
        return self._result
