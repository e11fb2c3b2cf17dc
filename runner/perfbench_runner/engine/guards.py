"""What ends a run that is no longer worth its cost: too many failures, a budget that is used up. Fed with results."""

from perfbench_api.sections import Budget, Guards
from perfbench_runner.engine.state import TEST, End
from perfbench_runner.load.precision import share_limits
from perfbench_runner.results.result import Result

FEWEST = 20
"""Requests of a stage that must have ended before their failures say anything."""


class Watch:
    """Of one run. Belongs to the control process's loop."""

    def __init__(self, guards: Guards) -> None:
        self._guards = guards
        self._ended = self._failed = 0
        """Requests of the stage under way."""
        self._requests = 0
        self._input_tokens = self._output_tokens = 0

    def begin_stage(self) -> None:
        """Failures are counted by stage."""
        self._ended = self._failed = 0

    def add(self, result: Result) -> End | None:
        """One more request has ended; how the run is to end because of it, or None."""
        data = result.data
        self._requests += result.stage != TEST
        if data.success:
            self._input_tokens += data.prompt_tokens or 0
            self._output_tokens += data.completion_tokens or 0
        found = self._too_many_failures(result) if result.stage >= 0 else None
        return found or self._overspent(self._guards.budget)

    def _too_many_failures(self, result: Result) -> End | None:
        if result.data.failure == "unfinished":
            return None
        self._ended += 1
        self._failed += not result.data.success
        limit = self._guards.failed_share
        if limit is None or result.data.success or self._ended < FEWEST or self._failed / self._ended <= limit:
            return None
        if share_limits(self._failed / self._ended, self._ended, 1.0)[0] <= limit:  # it may still be chance
            return None
        text = f"{self._failed} of {self._ended} requests failed: surely more than load.guards.failedShare {limit:g} allows"
        return End("failed", "TooManyFailures", text)

    def _overspent(self, budget: Budget | None) -> End | None:
        if budget is None:
            return None
        tokens = self._input_tokens + self._output_tokens
        price = (budget.input_price or 0.0) * self._input_tokens + (budget.output_price or 0.0) * self._output_tokens
        for name, used, most in (
            ("requests", self._requests, budget.requests),
            ("tokens", tokens, budget.tokens),
            ("money", price / 1e6, budget.money),
        ):
            if most is not None and used >= most:
                return End("failed", "BudgetSpent", f"load.guards.budget.{name}: {used:,g} of {most:,g} are used")
        return None
