"""Models of what summary.json says of some requests: counts, distributions, throughputs and what they mean.

Definitions of all figures: docs/metrics.md.
"""

from typing import Literal

from perfbench_runner.results.client_summary import Model as _Model

ServerFigure = dict[str, float | None]
"""One figure of a server's own metrics: its mean, min, max, increase, per_second or value; null where nothing was read."""


class Distribution(_Model):
    """Statistics of a figure; null where there is no value, or where too many values are known only by a lower bound."""

    mean: float | None = None
    std: float | None = None
    min: float | None = None
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    p99_9: float | None = None
    max: float | None = None
    count: int = 0
    """Values that are known."""
    censored: int = 0
    """Values that are known only to be larger than what was seen of them: of unfinished and unsent requests."""
    lower_bounds: dict[str, float] = {}
    """Of statistics that are null for that reason: what they are at least."""


class Requests(_Model):
    """Counts of requests."""

    total: int
    """Sent: succeeded, failed and unfinished."""
    succeeded: int
    failed: int
    unfinished: int = 0
    """Cut off at the end of the grace period; in latencies they count as longer than that."""
    unsent: int = 0
    """Due, but never sent: a limit on concurrency held them until the stage was over, or it was stopped."""
    no_content: int = 0
    """Succeeded without content: all of their tokens were hidden. They have no TTFT."""
    resent: int = 0
    """Sent again, since their idle connection proved to be closed."""
    retried: int = 0
    """Sent again, since the target refused them for now (`load.retry`)."""
    excluded: int = 0
    """Sent in a ramp, or before what a point of a search counts: stored, and in no other count or latency."""

    @property
    def failed_share(self) -> float | None:
        """Failed requests, of those that came to an end."""
        ended = self.succeeded + self.failed
        return self.failed / ended if ended else None


class Window(_Model):
    """The part of a stage in which the load was as asked: throughputs are over it. Times are since the load began."""

    start_s: float
    end_s: float
    duration_s: float
    kind: Literal["all_lanes_busy", "schedule", "duration", "overall"]
    """Closed loop by count; open loop by count; by duration; from the first sent to the last end, where there is no other."""
    reason: str = ""
    """Why it is the overall one."""


class PromptCache(_Model):
    """What the server had of the prompts in its prefix cache: latencies of a warm one are no latencies of a cold one."""

    state: Literal["cold", "partly_warm", "warm", "unknown"]
    """By `share`: below 10 %, below 50 %, more; unknown where the server says nothing."""
    source: Literal["usage", "server_metrics", "none"]
    """Who says so: the answers, the server's metrics, nobody."""
    share: float | None = None
    """Prompt tokens that came from the cache, of all prompt tokens."""
    is_intended: bool = False
    """Whether the manifest says that the cache is to be measured (`dataset.measureCache`)."""
    hits: int = 0
    """Requests of whose prompt at least half was cached."""
    misses: int = 0
    """The others whose answers say so."""
    hit_ttft_s: Distribution = Distribution()
    miss_ttft_s: Distribution = Distribution()


class Answers(_Model):
    """Whether answers are what was asked for. Counts are of succeeded requests."""

    prompts_checked: int = 0
    """Requests whose prompt was counted here, too: some of each stage."""
    prompts_cut: int = 0
    """Of those: whose server reports a prompt shorter by more than 5 %. It has cut it."""
    prompts_longer: int = 0
    """Of those: whose server reports a longer one by more than 5 %, where a tokenizer counted here."""
    mean_asked_tokens: float | None = None
    """Mean length of the checked prompts as counted here."""
    mean_reported_tokens: float | None = None
    """The same as the server reports it."""
    counted_in: Literal["tokens", "words"] = "words"
    """What was counted here: tokens with `dataset.tokenizerPath`, else words, of which there are never more than tokens."""
    too_short: int = 0
    """Answers of fewer tokens than `request.minTokens`."""
    models: dict[str, int] = {}
    """Models that answers name, and how often."""
    other_model: int = 0
    """Answers that name another model than the one asked for."""


class Throughput(_Model):
    """Throughputs from the first request sent to the last answer's end, ramps included, as most other tools report."""

    duration_s: float
    request_throughput_rps: float | None = None
    output_token_throughput_tps: float | None = None
    total_token_throughput_tps: float | None = None
    input_token_throughput_tps: float | None = None


class Goodput(_Model):
    """Requests that kept all limits of `spec.goodput`, or of that of their workload."""

    limits_s: dict[str, float]
    """The limits, by the metric that they are of; of a stage those that all its workloads have alike."""
    total: int
    """Requests that it is a share of: those that were sent, and those that were due and never were."""
    good: int
    """Those that succeeded and kept all limits. Failed, unfinished and unsent ones did not."""
    share: float | None
    """good / total."""
    rate_rps: float | None
    """Good requests that ended in the window, a second."""
    output_token_throughput_tps: float | None = None
    """Their output tokens, a second; null where nobody counted them, and in summaries of older versions."""
    missed: dict[str, int] = {}
    """Succeeded requests that missed a limit, by its metric; one may have missed several."""
    reason: str = ""
    """Why there is no share."""


class Retries(_Model):
    """Requests that were answered with 429 or 503 and sent again. Latencies elsewhere are from a request's first sending on."""

    requests: int
    """Sent again, once or more."""
    attempts: int
    """How often requests were sent altogether, those that were sent once included."""
    succeeded: int
    """Of `requests`: those that succeeded in the end."""
    gave_up: int
    """Refused to the last: too often, or for longer than `load.retry.maxWait`. They failed."""
    wait_s: Distribution
    """Of those that were sent again: from the first sending to the last."""
    attempt_ttft_s: Distribution
    """TTFT of all succeeded requests, each from its last sending: what the target does once it takes one."""
    attempt_e2e_latency_s: Distribution
    """The same of the E2E latency."""


class Prompts(_Model):
    """How often the same prompts were sent."""

    distinct: int
    """Different prompts in this stage."""
    repeated: int
    """Requests whose prompt had been sent before in this run, warm-up included."""
    dataset_passes: float | None = None
    """Entries of the dataset that the stage used, of all it has; null where it did not come to its end in this run."""


class Steady(_Model):
    """Figures of the steady part of a stage, beside those of the whole stage, which are judged. Found in the data."""

    start_s: float
    """From when on it is steady, since the load began."""
    dropped: int
    """Succeeded requests that were sent before: they show how the stage began."""
    dropped_share: float
    is_steady: bool
    """False where so much would have to be left out that the stage has not become steady in its time."""
    change: float = 0.0
    """Of a stage that is not: by which share latencies grew from its beginning to its end, below 0 where they fell; 0 where that
    is not beyond doubt. Objectives that a longer stage might decide otherwise are then open."""
    request_throughput_rps: float | None = None
    output_token_throughput_tps: float | None = None
    ttft_s: Distribution
    tpot_s: Distribution
    e2e_latency_s: Distribution
    scheduled_latency_s: Distribution


class PromptRange(_Model):
    """A range of lengths of prompts, in tokens."""

    from_tokens: int
    """The shortest that belong to it."""
    to_tokens: int | None
    """The shortest that are too long for it; null where none is."""


class TtftOfPrompts(PromptRange):
    """The time to first token of prompts of a range of lengths."""

    ttft_s: Distribution


class TtftByPrompt(_Model):
    """The time to first token by the length of the prompt, in powers of two."""

    ranges: list[TtftOfPrompts]
    """Those that had any request, by length."""
    unknown: int
    """Requests in none of them: they failed or were cut off, so that nobody counted their prompts."""


class Conversations(_Model):
    """Figures of conversations, where a stage had any."""

    total: int
    completed: int
    """Conversations that came to their end, every turn succeeded."""
    turns: Distribution
    duration_s: Distribution
    """From the first turn sent to the last answer's end, think time included."""
    first_turn_ttft_s: Distribution
    later_turn_ttft_s: Distribution


class Cost(_Model):
    """What output tokens cost at this load."""

    per_million_output_tokens: float | None = None
    """In the currency of `spec.price`."""
    joules_per_output_token: float | None = None
    """Mean power of the server's GPUs, all together, by output tokens a second."""
    per_million_good_output_tokens: float | None = None
    """The same price, by the output tokens of good requests alone (`goodput.output_token_throughput_tps`)."""
    joules_per_good_output_token: float | None = None
    """The same power, by these."""
    reasons: dict[str, str] = {}
    """Why a figure is null."""
