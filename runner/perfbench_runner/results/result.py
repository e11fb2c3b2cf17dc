"""Result: one request's flat record, the only thing that store, live figures and metrics know of a request."""

from dataclasses import dataclass

from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_runner.results.ramps import Excluded
from perfbench_runner.stamps import Stamps

LATENCIES = ("ttft", "itl", "tpot", "e2e_latency", "scheduled_latency")
"""The latencies that are summarised, as objectives and metrics name them."""


@dataclass(frozen=True, slots=True)
class Result:
    """What is known of one request. Times are seconds of the run's monotonic clock, durations are seconds."""

    stage: int
    """Number of the stage; -1 is the warm-up."""
    seq: int
    """Number of the request in the run, in the order of the dataset."""
    shard: int
    scheduled_s: float
    """Open loop: when it should have been sent. Closed loop: when its place became free."""
    data: BenchmarkData
    connect_s: float = 0.0
    """TCP connect and name look-up; 0.0 on a kept-alive connection."""
    tls_s: float = 0.0
    first_byte_s: float | None = None
    """From sending to the first byte of the response, head included."""
    response_bytes: int = 0
    entry: int | None = None
    """Number of the dataset's entry, from 0; goes on where the dataset begins again."""
    prompt_id: int | None = None
    """Signed 64-bit hash of the prompt: requests with the same prompt have the same."""
    stamps: Stamps | None = None
    """Who took the times of arrival; None where nothing arrived."""
    merged_segments: int | None = None
    """TCP segments with content that were read together with a later one and have its time; None: not known."""
    send_s: float | None = None
    """From handing the first byte of the request to the kernel to handing it the last; None: it never took that."""
    resends: int = 0
    """How often it was sent again because its idle connection proved to be closed; it was first sent at start_time."""
    retries: int = 0
    """How often it was sent again because the target refused it for now; it was first sent at start_time."""
    refusals: tuple[str, ...] = ()
    """Each time's FailureKind; live figures alone have that."""
    retry_s: float = 0.0
    """How much later it was sent for the last time, where it was sent again for that reason."""
    excluded: Excluded | None = None
    """Why it is in no figure; None where it is."""
    workload: str | None = None
    """Name of its workload; None where the run has one."""
    target: str | None = None
    """Name of the target that it was sent to, likewise."""

    @property
    def dispatch_lag_s(self) -> float:
        """How much later than scheduled it was sent, connecting left out: the client's own delay."""
        return max(0.0, self.data.start_time - self.scheduled_s - self.connect_s - self.tls_s)

    @property
    def scheduled_latency_s(self) -> float:
        """From when it should have been sent to its end: what a user who arrived then had to wait."""
        return self.data.completed_time - self.scheduled_s
