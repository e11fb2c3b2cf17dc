"""What tokens cost, in money and in energy: pure functions of a stage's figures."""

from perfbench_api.sections import Price
from perfbench_runner.results.summary import Cost, StageSummary

HOUR_S = 3600.0
NO_TOKENS = "no output tokens were counted in the stage's window"
NO_PRICE = "spec.price says no price"
NO_POWER = "no metrics of the server tell the power of its GPUs (DCGM, see target.metrics)"


def cost(stage: StageSummary, price: Price) -> Cost | None:
    """Of a stage's window, in which its load was as asked; None where neither a price nor the GPUs' power is known."""
    watts = _watts(stage)
    if price.per_hour is None and watts is None:
        return None
    tokens_s = stage.output_token_throughput_tps
    if not tokens_s:
        return Cost(reasons={"per_million_output_tokens": NO_TOKENS, "joules_per_output_token": NO_TOKENS})
    reasons = {}
    if price.per_hour is None:
        reasons["per_million_output_tokens"] = NO_PRICE
    if watts is None:
        reasons |= {"joules_per_output_token": NO_POWER}
    per_second = None if price.per_hour is None else price.per_hour * price.replicas / HOUR_S
    return Cost(
        per_million_output_tokens=None if per_second is None else per_second / tokens_s * 1e6,
        joules_per_output_token=None if watts is None else watts / tokens_s,
        reasons=reasons,
    )


def _watts(stage: StageSummary) -> float | None:
    """Mean power of all GPUs: by the energy that they count, which misses no peak, or by their power as read now and then."""
    counted = stage.server.get("gpu_energy_j", {}).get("per_second")
    return counted if counted is not None else stage.server.get("gpu_power_w", {}).get("mean")
