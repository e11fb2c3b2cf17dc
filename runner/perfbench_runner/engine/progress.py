"""How far a run is: a pure function of its state and its live figures."""

from perfbench_api.outcome import Progress
from perfbench_api.redaction import KNOWN
from perfbench_api.sections import Load, Stage
from perfbench_runner.engine.agreement import Totals
from perfbench_runner.engine.state import RunState
from perfbench_runner.observe.live import Live
from perfbench_runner.results.client_health import State

USUAL_POINTS = 15
"""Points of a usual search."""


def progress_of(
    state: RunState, load: Load, live: Live, client: State | None, others: Totals | None = None
) -> Progress:
    """What is shown to people, and to whoever asks /progress. `others`: live figures of the run's other runners."""
    others = others or Totals()
    stage = load.stages[state.stage_index]
    requests_s, tokens_s = live.rates()
    done = _share_done(stage, live, others)
    elapsed_s = live.elapsed_s
    is_running = state.phase == "running"
    return Progress(
        phase=state.phase,
        stage=stage.title if is_running else None,
        stage_index=state.stage_index,
        stage_count=_stages(load),
        percent=_percent(state, done, _stages(load)),
        eta_s=elapsed_s / done - elapsed_s if is_running and done > 0.01 else None,
        requests=live.total + others.requests,
        failed=live.failed + others.failed,
        in_flight=live.in_flight + others.in_flight,
        request_throughput_rps=requests_s + others.requests_rps,
        output_token_throughput_tps=tokens_s + others.tokens_tps,
        ttft_p50_s=live.ttft.quantile(0.5),
        ttft_p99_s=live.ttft.quantile(0.99),
        client=client,
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


def _share_done(stage: Stage, live: Live, others: Totals) -> float:
    if not live.began_s:
        return 0.0
    by_count = (live.total + others.requests) / stage.requests if stage.requests else 0.0
    by_time = live.elapsed_s / stage.duration if stage.duration else 0.0
    return min(1.0, max(by_count, by_time))
