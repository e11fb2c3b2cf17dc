"""What observers see of a run under way, and nothing more: the engine's side of `observe.observer.RunView`."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from perfbench_api.outcome import Progress
from perfbench_api.sections import Load
from perfbench_runner.engine.agreement import Agreement
from perfbench_runner.engine.dispatch import Dispatcher
from perfbench_runner.engine.intake import Intake
from perfbench_runner.engine.progress import LiveQuantiles, live_quantiles, progress_of
from perfbench_runner.engine.state import Phase, RunState
from perfbench_runner.observe.counts import client_figures
from perfbench_runner.observe.live import Live
from perfbench_runner.observe.told import ClientFigures, RunnerFigures, Settled, StageFigures, Tally
from perfbench_runner.results import client_health
from perfbench_runner.results.client_health import Sample
from perfbench_runner.results.store import Store

AT_ONCE_S, TOLD_EVERY_S = 0.1, 1.0
"""All who watch ask for quantiles at once; other runners tell theirs so often."""


class View:
    """Reads the parts of the engine; keeps only what shards say of themselves."""

    def __init__(
        self,
        state: RunState,
        load: Load,
        live: Live,
        dispatcher: Dispatcher,
        intake: Intake,
        store: Store,
        agreement: Agreement,
    ) -> None:
        self._state, self._load, self._live = state, load, live
        self._dispatcher, self._intake, self._store, self._agreement = dispatcher, intake, store, agreement
        self._is_closed = False
        self._quantiles, self._quantiles_s = live_quantiles(live), float("-inf")
        self._sent: Counter[int] = Counter()
        """By shard: requests of the stage that were sent, when the shard was last sampled."""
        self.samples: list[Sample] = []
        """The latest sample of every shard."""

    def begin_stage(self) -> None:
        """A stage begins: nothing of it was sent yet."""
        self._sent.clear()
        self._quantiles_s = float("-inf")

    def add_sample(self, sample: Sample) -> None:
        """A shard says how it is."""
        self.samples = [*(other for other in self.samples if other.shard != sample.shard), sample]
        self._live.in_flight = sum(other.in_flight for other in self.samples)
        if sample.stage == self._state.number:
            # Under way and ended must be of one moment: together with what ended since, some would count twice.
            self._sent[sample.shard] = self._intake.ended[sample.shard] + sample.in_flight

    @property
    def phase(self) -> Phase:
        """Where the run is."""
        return self._state.phase

    @property
    def stage_index(self) -> int:
        """The measured stage under way, or the last one."""
        return self._state.stage_index

    @property
    def interrupted(self) -> asyncio.Event:
        """Set when a signal has asked for the end."""
        return self._state.interrupted

    @property
    def clock(self) -> Callable[[], float]:
        """The run's monotonic clock, seconds."""
        return self._state.clock

    @property
    def sent(self) -> int:
        """Requests of the stage under way that were sent, as of half a second ago."""
        return sum((self._sent | self._intake.ended).values())

    @property
    def due(self) -> int:
        """Open loop: requests of the stage under way whose time has come."""
        return self._dispatcher.due(self._load.stages[self._state.stage_index].duration or float("inf"))

    @property
    def client(self) -> client_health.State | None:
        """How this runner's client is; None where nothing is known yet."""
        rows = [{name: getattr(sample, name) for name in client_health.COLUMNS} for sample in self.samples]
        found = client_health.figures(rows)
        for shard, own in found.items():
            own["program_stamps_share"] = float(self._intake.by_program[shard] > 0)
        return client_health.judge(found).state if rows else None

    def progress(self) -> Progress:
        """How far the run is, of several runners all of them."""
        others = self.others(self._state.number)
        quantiles = self._quantiles_of(others)
        return progress_of(self._state, self._load, self._live, self.client, quantiles, others)

    def _quantiles_of(self, others: Sequence[RunnerFigures]) -> LiveQuantiles:
        """Not more often than they change: to add up the sketches of many runners takes long."""
        now_s = self.clock()
        if now_s >= self._quantiles_s + (TOLD_EVERY_S if others else AT_ONCE_S):
            self._quantiles, self._quantiles_s = live_quantiles(self._live, others), now_s
        return self._quantiles

    def others(self, stage: int) -> Sequence[RunnerFigures]:
        """What the run's other runners have told of a stage; nothing in a run of one."""
        return self._agreement.others(stage)

    def figures(self, stage: StageFigures | None, tally: Tally, settled: Settled) -> RunnerFigures:
        """What this runner tells the leader of the stage under way; `stage` is what Prometheus is told of it."""
        live, is_open_loop = self._live, self._dispatcher.is_open_loop
        requests_rps, tokens_tps = live.rates()
        return RunnerFigures(
            requests=live.total,
            failed=live.failed,
            in_flight=live.in_flight,
            requests_rps=requests_rps,
            tokens_tps=tokens_tps,
            ttft=live.ttft.counts(),
            itl=live.itl.counts(),
            client=ClientFigures(state=self.client, figures=client_figures(self.samples)),
            due=self.due if is_open_loop else 0,
            answered=self._dispatcher.answered() if is_open_loop else 0,
            tally=tally,
            settled=settled,
            stage=stage,
        )

    def store_server_metrics(self, rows: Iterable[tuple[float, int, str, str, str, float]]) -> None:
        """Keep readings of the server's own metrics; nothing happens once the load is over. Raises StoreError."""
        if not self._is_closed:
            self._store.add_server_metrics(rows)

    def close(self) -> None:
        """Nothing more is stored."""
        self._is_closed = True
