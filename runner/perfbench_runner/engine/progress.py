"""How far a run is: pure functions of its state and its live figures; of several runners, of those of all."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from perfbench_api.outcome import Progress
from perfbench_api.redaction import KNOWN
from perfbench_api.sections import Load, Stage
from perfbench_runner.engine.state import RunState
from perfbench_runner.observe.live import Live
from perfbench_runner.observe.sketch import Sketch
from perfbench_runner.observe.told import RunnerFigures
from perfbench_runner.results.client_health import STATES, State

USUAL_POINTS = 15
"""Points of a usual search."""


class Quantiles(NamedTuple):
    """Of a latency, seconds; None without values."""

    p50_s: float | None
    p99_s: float | None


def quantiles_of(own: Sketch, others: Iterable[Mapping[int, int]]) -> Quantiles:
    """Those of all runners' values; `others` have what was counted by bucket."""
    if told := [counts for counts in others if counts]:
        whole = Sketch(own.counts())
        for counts in told:
            whole.merge(Sketch(counts))
        own = whole
    found = tuple(own.quantiles(0.5, 0.99))
    return Quantiles(*found) if found else Quantiles(None, None)


class LiveQuantiles(NamedTuple):
    """Of the stage under way, of all runners."""

    ttft: Quantiles
    itl: Quantiles


def live_quantiles(live: Live, others: Sequence[RunnerFigures] = ()) -> LiveQuantiles:
    """Takes a quarter of a millisecond for each of the other runners."""
    return LiveQuantiles(
        quantiles_of(live.ttft, (other.ttft for other in others)),
        quantiles_of(live.itl, (other.itl for other in others)),
    )


def progress_of(
    state: RunState,
    load: Load,
    live: Live,
    client: State | None,
    quantiles: LiveQuantiles,
    others: Sequence[RunnerFigures] = (),
) -> Progress:
    """What is shown to people, and to whoever asks /progress. `others`: live figures of the run's other runners."""
    stage = load.stages[state.stage_index]
    requests_s, tokens_s = live.rates()
    requests = live.total + sum(other.requests for other in others)
    ttft, itl = quantiles
    done = _share_done(stage, live, requests)
    elapsed_s = live.elapsed_s
    is_running = state.phase == "running"
    return Progress(
        phase=state.phase,
        stage=stage.title if is_running else None,
        stage_index=state.stage_index,
        stage_count=_stages(load),
        percent=_percent(state, done, _stages(load)),
        eta_s=elapsed_s / done - elapsed_s if is_running and done > 0.01 else None,
        requests=requests,
        failed=live.failed + sum(other.failed for other in others),
        in_flight=live.in_flight + sum(other.in_flight for other in others),
        request_throughput_rps=requests_s + sum(other.requests_rps for other in others),
        output_token_throughput_tps=tokens_s + sum(other.tokens_tps for other in others),
        ttft_p50_s=ttft.p50_s,
        ttft_p99_s=ttft.p99_s,
        itl_p50_s=itl.p50_s,
        itl_p99_s=itl.p99_s,
        client=_worst(client, others),
        message=KNOWN.text(state.message),
        search=state.found,
    )


def _stages(load: Load) -> int:
    """How many stages there are; of a search about how many there will be: nobody knows before its end."""
    return len(load.stages) if load.search is None else max(len(load.stages) + 1, USUAL_POINTS)


def _percent(state: RunState, done: float, stages: int) -> float:
    if state.phase in ("storing", "done"):
        return 100.0
    if state.phase == "pausing":
        return 100.0 * (state.stage_index + 1) / stages
    return 100.0 * (state.stage_index + done) / stages if state.phase == "running" else 0.0


def _worst(client: State | None, others: Iterable[RunnerFigures]) -> State | None:
    """The worst client of all runners; None where nothing is known of any."""
    known = [state for state in (client, *(other.client.state for other in others)) if state is not None]
    return max(known, key=STATES.index, default=None)


def _share_done(stage: Stage, live: Live, requests: int) -> float:
    if not live.began_s:
        return 0.0
    by_count = requests / stage.requests if stage.requests else 0.0
    by_time = live.elapsed_s / stage.duration if stage.duration else 0.0
    return min(1.0, max(by_count, by_time))
