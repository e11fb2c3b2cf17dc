"""What ends a run that is no longer worth its cost: too many failures, a budget that is used up. Fed with results,
and of several runners with what the others have counted."""

from collections.abc import Sequence

from perfbench_api.sections import Budget, Guards
from perfbench_runner.engine.state import TEST, End
from perfbench_runner.observe.told import Tally
from perfbench_runner.results.dependence import share_limits
from perfbench_runner.results.precision import LEVEL
from perfbench_runner.results.result import Result

FEWEST = 20
"""Requests of a stage that must have ended before their failures say anything."""


class Watch:
    """Of one run. Belongs to the control process's loop."""

    def __init__(self, guards: Guards, decides: bool = True) -> None:
        """`decides`: whether this runner ends the run; of several only the leader does, by what all have counted."""
        self._guards, self._decides = guards, decides
        self._own = dict.fromkeys(Tally.model_fields, 0)
        self.others: Sequence[Tally] = ()
        """What the other runners have counted."""

    def begin_stage(self) -> None:
        """Failures are counted by stage."""
        self._own |= {"ended": 0, "failed": 0}
        self.others = [other.model_copy(update={"ended": 0, "failed": 0}) for other in self.others]

    @property
    def tally(self) -> Tally:
        """What this runner has counted."""
        return Tally(**self._own)

    def add(self, result: Result) -> End | None:
        """One more request has ended; how the run is to end because of it, or None."""
        data, own = result.data, self._own
        own["requests"] += result.stage != TEST
        if data.success:
            own["input_tokens"] += data.prompt_tokens or 0
            own["output_tokens"] += data.completion_tokens or 0
        counts = result.stage >= 0 and data.failure != "unfinished"
        own["ended"] += counts
        own["failed"] += counts and not data.success
        if not self._decides:
            return None
        found = self._too_many_failures() if counts and not data.success else None
        return found or self._overspent(self._guards.budget)

    def look(self) -> End | None:
        """How the run is to end because of what all runners have counted, or None."""
        return (self._too_many_failures() or self._overspent(self._guards.budget)) if self._decides else None

    def _whole(self, name: str) -> int:
        return self._own[name] + sum(int(getattr(other, name)) for other in self.others)

    def _too_many_failures(self) -> End | None:
        limit, ended, failed = self._guards.failed_share, self._whole("ended"), self._whole("failed")
        if limit is None or ended < FEWEST or failed / ended <= limit:
            return None
        if share_limits(failed / ended, ended, 1.0, LEVEL, LEVEL)[0] <= limit:  # it may still be chance
            return None
        text = f"{failed} of {ended} requests failed: surely more than load.guards.failedShare {limit:g} allows"
        return End("failed", "TooManyFailures", text)

    def _overspent(self, budget: Budget | None) -> End | None:
        if budget is None:
            return None
        inputs, outputs = self._whole("input_tokens"), self._whole("output_tokens")
        price = (budget.input_price or 0.0) * inputs + (budget.output_price or 0.0) * outputs
        for name, used, most in (
            ("requests", self._whole("requests"), budget.requests),
            ("tokens", inputs + outputs, budget.tokens),
            ("money", price / 1e6, budget.money),
        ):
            if most is not None and used >= most:
                return End("failed", "BudgetSpent", f"load.guards.budget.{name}: {used:,g} of {most:,g} are used")
        return None
