"""Requests that were sent again because the target refused them for now. Pure functions of a stage's rows."""

from perfbench_runner.results.measured import Retries
from perfbench_runner.results.quantiles import distribution
from perfbench_runner.results.rows import Rows

REFUSALS = ("http_429", "http_503")


def retries(rows: Rows, is_asked: bool) -> Retries | None:
    """A stage's retries; None where none were asked for (`load.retry`)."""
    if not is_asked:
        return None
    again, ok = rows["retries"] > 0, rows.is_ok
    first, waited = rows["first_chunk_latency"], rows["retry_time"]
    return Retries(
        requests=int(again.sum()),
        attempts=len(rows) + int(rows["retries"].sum()),
        succeeded=int((again & ok).sum()),
        gave_up=sum(rows.errors[kind] for kind in REFUSALS),
        wait_s=distribution(waited[again & (waited > 0)]),
        attempt_ttft_s=distribution((first - waited)[ok]),
        attempt_e2e_latency_s=distribution((rows["latency"] - waited)[ok]),
    )
