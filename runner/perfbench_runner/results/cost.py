"""What tokens cost, in money and in energy: pure functions of a stage's figures."""

from perfbench_api.sections import Price
from perfbench_runner.results.measured import Cost
from perfbench_runner.results.summary import StageSummary

HOUR_S = 3600.0
NO_TOKENS = "no output tokens were counted in the stage's window"
NO_GOOD_TOKENS = "no output tokens of good requests were counted in the stage's window"
NO_PRICE = "spec.price says no price"
NO_POWER = "no metrics of the server tell the power of its GPUs (DCGM, see target.metrics)"


def cost(stage: StageSummary, price: Price) -> Cost | None:
    """Of a stage's window, in which its load was as asked; None where neither a price nor the GPUs' power is known."""
    watts = _watts(stage)
    if price.per_hour is None and watts is None:
        return None
    per_second = None if price.per_hour is None else price.per_hour * price.replicas / HOUR_S
    found: dict[str, float] = {}
    reasons: dict[str, str] = {}
    for kind, tokens_s, missing in (("", *_all_tokens(stage)), ("good_", *_good_tokens(stage))):
        money, energy = f"per_million_{kind}output_tokens", f"joules_per_{kind}output_token"
        for name, rate, unknown in ((money, per_second, NO_PRICE), (energy, watts, NO_POWER)):
            if tokens_s and rate is not None:
                found[name] = rate / tokens_s * (1e6 if name == money else 1.0)
            elif not (kind and stage.goodput is None):  # without limits nobody asks for it
                reasons[name] = missing if not tokens_s else unknown
    return Cost(**found, reasons=reasons)


def _all_tokens(stage: StageSummary) -> tuple[float | None, str]:
    """Output tokens a second, and why there are none."""
    return stage.output_token_throughput_tps, NO_TOKENS


def _good_tokens(stage: StageSummary) -> tuple[float | None, str]:
    """Those of good requests."""
    goodput = stage.goodput
    return (None, "") if goodput is None else (goodput.output_token_throughput_tps, goodput.reason or NO_GOOD_TOKENS)


def _watts(stage: StageSummary) -> float | None:
    """Mean power of all GPUs: by the energy that they count, which misses no peak, or by their power as read now and then."""
    counted = stage.server.get("gpu_energy_j", {}).get("per_second")
    return counted if counted is not None else stage.server.get("gpu_power_w", {}).get("mean")
