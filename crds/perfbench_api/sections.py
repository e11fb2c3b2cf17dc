"""The sections of a PerfBenchmark's spec. A field is declared here once: manifest, flags, CRD and reference come from it.

`Endpoint`, `Prompts` and `Request` are also what plugins see: `perfbench_plugins.arguments.Arguments` inherits them flat,
under the names of `evalscope perf`.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from perfbench_api.values import Duration, Free, FreeList, Limit, Quantity, Section, Unit

Tokens = Annotated[int, Unit("tokens")]
Pixels = Annotated[int, Unit("pixels"), Field(ge=1)]


class KeyRef(Section):
    """One key of a Secret or ConfigMap in the benchmark's namespace."""

    name: str = Field(min_length=1)
    """Name of the Secret or ConfigMap."""
    key: str = Field(min_length=1)
    """Key in it."""


class NameRef(Section):
    """A Secret, ConfigMap or PersistentVolumeClaim in the benchmark's namespace."""

    name: str = Field(min_length=1)
    """Name of the object."""


class ApiKey(Section):
    """Where the API key is. It reaches the runner as an environment variable and is written nowhere."""

    secret_key_ref: KeyRef | None = None
    """In the cluster: the Secret that holds it. On a laptop the variable PERFBENCH_API_KEY is read instead."""
    env: str | None = Field(None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """On a laptop: the environment variable (or name in .env) that holds it; PERFBENCH_API_KEY if not given."""


class Header(Section):
    """One HTTP header of every request."""

    name: str = Field(min_length=1, pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")
    """Name of the header."""
    value: str | None = Field(None, pattern=r"^[^\r\n\x00]*$")
    """Its value, if it is no secret."""
    secret_key_ref: KeyRef | None = None
    """The Secret that holds its value. On a laptop the variable PERFBENCH_HEADER_<NAME> is read instead."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.value is None) == (self.secret_key_ref is None):
            raise ValueError("give either value or secretKeyRef")
        return self

    @property
    def env(self) -> str:
        """The environment variable that carries a secret value: X-Auth -> PERFBENCH_HEADER_X_AUTH."""
        return "PERFBENCH_HEADER_" + "".join(c if c.isalnum() else "_" for c in self.name).upper()


class Authority(Section):
    """Certificates of the authority that signed the target's certificate (PEM)."""

    file: str | None = None
    """A file, on a laptop or in the image."""
    secret_key_ref: KeyRef | None = None
    """A key of a Secret."""
    config_map_key_ref: KeyRef | None = None
    """A key of a ConfigMap."""


class Tls(Section):
    """How the target's certificate is checked, and who we are."""

    ca: Authority | None = None
    """Trust this authority instead of the system's."""
    cert_file: str | None = None
    """Our client certificate (PEM file)."""
    key_file: str | None = None
    """Its private key (PEM file); if not given it is in certFile."""
    insecure_skip_verify: bool = False
    """Accept any certificate. Only for tests."""


class MockTarget(Section):
    """A bundled mock endpoint that the run starts for itself: no model needed."""

    ttft: Duration = 0.05
    """Time from request to first token."""
    itl: Duration = 0.01
    """Time between tokens."""
    ttft_jitter: Duration = 0.0
    """Uniform deviation of ttft, up and down."""
    itl_jitter: Duration = 0.0
    """Uniform deviation of itl, up and down."""
    output_tokens: Tokens = Field(64, ge=0)
    """Length of an answer, where the request asks for no less."""
    error_rate: float = Field(0.0, ge=0, le=1)
    """Share of requests answered with HTTP 500."""
    stall_rate: float = Field(0.0, ge=0, le=1)
    """Share of streams that pause in the middle."""
    stall: Duration = 1.0
    """How long they pause."""
    broken_rate: float = Field(0.0, ge=0, le=1)
    """Share of streams whose connection is cut in the middle."""


class ServiceRef(Section):
    """A Kubernetes Service as the target; only in the cluster."""

    name: str = Field(min_length=1)
    """Name of the Service."""
    namespace: str | None = None
    """Its namespace; the benchmark's if not given."""
    port: int = Field(80, ge=1, le=65535)
    """Its port."""
    path: str = ""
    """Path of the URL; the API's usual one if empty."""
    scheme: Literal["http", "https"] = "http"
    """Protocol."""


class MetricsSource(Section):
    """One Prometheus endpoint of the server to read during the run."""

    url: str | None = None
    """Address of its metrics page."""
    service: ServiceRef | None = None
    """Or the Service whose pods serve it."""
    include: list[str] = []
    """Names of metrics to keep, `*` as wildcard; those that perfbench knows if empty."""


class Endpoint(Section):
    """What plugins too need to know of the target."""

    url: str | None = None
    """Address of the endpoint: http://host:8000/v1/chat/completions; the API's usual path is added to a host or /v1."""
    model: str | None = None
    """Name of the model, as the endpoint serves it."""
    api: str = "openai"
    """API plugin that speaks to the endpoint."""
    api_args: Free | None = None
    """The API plugin's own options; `perfbench plugins` lists them."""
    connect_timeout: Duration | None = 10.0
    """Longest time to connect, TLS included."""
    read_timeout: Duration | None = 300.0
    """Longest silence of the endpoint within a request."""
    total_timeout: Duration | None = 3600.0
    """Longest time of a request."""


class Target(Endpoint):
    """The model endpoint to measure: exactly one of url, service and mock."""

    service: ServiceRef | None = None
    """A Kubernetes Service instead of a URL."""
    mock: MockTarget | None = None
    """A mock endpoint that the run starts for itself."""
    api_key: ApiKey | None = None
    """Where the API key is; sent as the API wants it, mostly as `Authorization: Bearer`."""
    headers: list[Header] = []
    """HTTP headers of every request."""
    tls: Tls = Tls()
    """How the endpoint's certificate is checked."""
    wait_for: Duration | None = None
    """How long to wait until the target answers; 5m in a cluster and not at all on a laptop if not given."""
    connection_test: bool = True
    """Send one short request first, so that a wrong URL, key or model is told at once."""
    metrics: Literal["auto", "off"] | list[MetricsSource] = Field(
        "auto", json_schema_extra={"x-kubernetes-preserve-unknown-fields": True}
    )
    """The server's own Prometheus metrics: auto (its /metrics, if it has one), off, or a list of sources."""

    @field_validator("metrics", mode="before")
    @classmethod
    def _off_is_a_word(cls, value: object) -> object:
        """YAML reads a bare off as false, and on as true."""
        return {False: "off", True: "auto"}[value] if isinstance(value, bool) else value

    @model_validator(mode="after")
    def _one_address(self) -> Self:
        given = [name for name in ("url", "service", "mock") if getattr(self, name) is not None]
        if not given:
            raise ValueError("nothing to measure; give url, service or mock")
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} exclude each other; give one of them")
        if self.url is not None and not self.url.lower().startswith(("http://", "https://")):
            raise ValueError(f"url {self.url!r} has no scheme; write http://{self.url} or https://{self.url}")
        if self.mock is not None and self.model is None:
            self.model = "mock"
        return self


class Prompts(Section):
    """What plugins too need to know of the dataset, under EvalScope's names."""

    tokenizer_path: str | None = None
    """Tokenizer (folder, file or hub name) for token-exact prompts and to count tokens that the server does not report."""
    max_prompt_length: int = Field(131072, ge=1)
    """Longer prompts are left out; tokens with a tokenizer, else characters."""
    min_prompt_length: int = Field(0, ge=0)
    """Shorter prompts are left out; tokens with a tokenizer, else characters."""
    prefix_length: Tokens = Field(0, ge=0)
    """Length of the prefix that all prompts of the random datasets share."""
    prompt: str | None = None
    """One fixed prompt instead of the dataset; @FILE reads it from a file."""
    apply_chat_template: bool | None = None
    """Send chat messages (true) or plain text (false); by the URL if not given."""
    tokenize_prompt: bool = False
    """Send token ids instead of text; needs a tokenizer."""
    multi_turn: bool = False
    """Play conversations turn by turn instead of single requests."""
    min_turns: int = Field(1, ge=1)
    """Fewest turns of a conversation."""
    max_turns: int | None = Field(None, ge=1)
    """Most turns of a conversation."""
    image_width: Pixels = 224
    """Width of generated images."""
    image_height: Pixels = 224
    """Height of generated images."""
    image_format: str = "RGB"
    """Pixel format of generated images."""
    image_num: int = Field(1, ge=0)
    """Images in a generated prompt."""
    image_patch_size: Pixels = 28
    """Pixels of an image patch, to estimate image tokens that the server does not report."""


class Dataset(Prompts):
    """What to send."""

    name: str = "openqa"
    """Dataset plugin."""
    path: str | None = None
    """File or folder to read it from; a small sample or the hub if not given."""
    source: Literal["modelscope", "huggingface", "local"] | None = None
    """Hub to load it from."""
    offset: int = Field(0, ge=0)
    """Entries to leave out at the start."""
    args: Free | None = None
    """The plugin's own options; `perfbench plugins` lists them."""
    config_map: NameRef | None = None
    """In the cluster: a ConfigMap that holds the file `path`."""
    claim: NameRef | None = None
    """In the cluster: a PersistentVolumeClaim that holds the file `path`."""


class Request(Section):
    """The parameters of every request; EvalScope's names."""

    max_tokens: Tokens | list[Tokens] | None = Field(
        2048, json_schema_extra={"x-kubernetes-preserve-unknown-fields": True}
    )
    """Longest answer; [min, max] draws one per request."""
    min_tokens: Tokens | None = Field(None, ge=0)
    """Shortest answer, where the server knows min_tokens."""
    temperature: float | None = Field(0.0, ge=0)
    """Sampling temperature."""
    top_p: float | None = None
    """Nucleus sampling."""
    top_k: int | None = None
    """Sampling among the k likeliest tokens."""
    frequency_penalty: float | None = None
    """Penalty on frequent tokens."""
    repetition_penalty: float | None = None
    """Penalty on repeated tokens."""
    logprobs: bool | None = None
    """Ask for log probabilities."""
    n_choices: int | None = Field(None, ge=1)
    """Answers per request (`n`); the first is timed."""
    seed: int | None = None
    """Sampling seed sent in the body."""
    stop: list[str] | None = None
    """Texts that end an answer."""
    stop_token_ids: list[int] | None = None
    """Tokens that end an answer."""
    stream: bool | None = True
    """Stream the answer; without it there is no TTFT or ITL."""
    extra_args: Free | None = None
    """More fields of the body, added last."""

    @model_validator(mode="after")
    def _range_is_a_range(self) -> Self:
        length = self.max_tokens
        if isinstance(length, list) and (len(length) != 2 or not 0 < length[0] <= length[1]):
            raise ValueError(f"maxTokens {length} is no range; write [min, max]")
        if isinstance(length, int) and length < 1:
            raise ValueError("maxTokens must be at least 1")
        return self


class Warmup(Section):
    """Load before the first stage, which is not counted."""

    requests: int = Field(0, ge=0)
    """How many requests."""
    concurrency: int | None = Field(None, ge=1)
    """How many at a time; as many as the first stage if not given."""


class Stage(Section):
    """One load level: a closed loop (concurrency) or an open loop (rate), by count or by duration."""

    name: str | None = Field(None, min_length=1, max_length=63)
    """Name in results; c8 or r5 if not given."""
    concurrency: int | None = Field(None, ge=1)
    """Closed loop: this many requests are always under way."""
    rate: Annotated[float, Unit("requests/s")] | None = Field(None, gt=0)
    """Open loop: requests start at this rate, however slow the answers are."""
    arrival: Literal["poisson", "constant"] = "poisson"
    """Open loop: gaps between requests drawn from an exponential distribution, or all equal."""
    max_concurrency: int | None = Field(None, ge=1)
    """Open loop: never more than this many under way; later requests wait, and their wait is measured."""
    requests: int | None = Field(None, ge=1)
    """End after this many requests."""
    duration: Duration | None = Field(None, gt=0)
    """End after this time; the first of both if both are given."""

    @model_validator(mode="after")
    def _one_load(self) -> Self:
        if (self.concurrency is None) == (self.rate is None):
            raise ValueError("give exactly one of concurrency (closed loop) and rate (open loop)")
        if self.requests is None and self.duration is None:
            raise ValueError("has no end; give requests or duration")
        if self.max_concurrency is not None and self.rate is None:
            raise ValueError("maxConcurrency belongs to rate; concurrency is its own limit")
        return self

    @property
    def title(self) -> str:
        """The stage's name, given or derived."""
        return self.name or (f"c{self.concurrency}" if self.concurrency else f"r{self.rate:g}")


class Load(Section):
    """How hard and how long to load the target."""

    warmup: Warmup = Warmup()
    """Load that is not counted, before the first stage."""
    stages: list[Stage] = Field([Stage(concurrency=8, requests=200)], min_length=1, max_length=64)
    """Load levels, one after the other."""
    pause: Duration = 0.0
    """Rest between stages."""
    grace_period: Duration = 30.0
    """How long requests under way may still take when a stage's duration is over or the run is stopped."""
    max_failed_share: float = Field(0.05, ge=0, le=1)
    """The run fails when a larger share of a stage's requests failed."""
    random_seed: int = 0
    """Fixes prompts, their order, arrivals and drawn lengths."""


class Objective(Section):
    """A bound that a statistic must keep."""

    metric: Literal[
        "ttft",
        "itl",
        "tpot",
        "e2e_latency",
        "scheduled_latency",
        "request_throughput",
        "output_token_throughput",
        "total_token_throughput",
        "failed_share",
    ]
    """What is bounded."""
    statistic: Literal["mean", "std", "min", "p50", "p90", "p95", "p99", "p99_9", "max"] = "p99"
    """Which statistic of a latency; throughputs and shares have only one value."""
    max: Limit | None = None
    """Upper bound: 500ms, 1%, 0.01."""
    min: Limit | None = None
    """Lower bound."""
    stage: str | None = None
    """Name of the stage it holds for; all if not given."""

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        if self.max is None and self.min is None:
            raise ValueError("bounds nothing; give max or min")
        return self


class Results(Section):
    """What is kept, and where."""

    messages: Literal["all", "failed", "none"] = "all"
    """Bodies of requests and answers to keep: all, of failed requests only, or none."""
    claim: NameRef | None = None
    """In the cluster: an existing PersistentVolumeClaim for the results."""
    storage: Quantity = "10Gi"
    """In the cluster: size of the claim that the operator makes if none is given."""
    storage_class: str | None = None
    """Its storage class; the cluster's default if not given."""
    access_mode: Literal["ReadWriteOnce", "ReadWriteMany", "ReadWriteOncePod"] = "ReadWriteOnce"
    """Its access mode."""
    push: str | None = Field(None, pattern=r"^https?://[^@]+$")
    """Pushgateway that gets the run's metrics at its end, where nobody scrapes the runner's pod."""


class PluginSource(Section):
    """Where a plugin of your own is."""

    file: str | None = None
    """A Python file."""
    module: str | None = None
    """An installed module."""
    config_map: NameRef | None = None
    """In the cluster: a ConfigMap whose *.py keys are plugin files."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if sum(source is not None for source in (self.file, self.module, self.config_map)) != 1:
            raise ValueError("give exactly one of file, module and configMap")
        return self


class Runner(Section):
    """The processes and pods that make the load."""

    workers: int | None = Field(None, ge=1, le=256)
    """Load-generating processes of a runner; one per CPU, minus one for the writer, if not given."""
    replicas: int = Field(1, ge=1, le=1)
    """Runner pods that share the load; one, until runs over several pods are built."""
    image: str | None = None
    """Image of the runner; the operator's default if not given."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    """When to pull the image."""
    image_pull_secrets: list[NameRef] = []
    """Secrets to pull it with."""
    resources: Free | None = None
    """CPU and memory, as in a pod."""
    node_selector: dict[str, str] | None = None
    """Labels of the nodes to run on."""
    affinity: Free | None = None
    """Affinity, as in a pod."""
    tolerations: FreeList | None = None
    """Tolerations, as in a pod."""
    topology_spread_constraints: FreeList | None = None
    """Spread over the nodes, as in a pod."""
    priority_class_name: str | None = None
    """Priority class of the pods."""
    runtime_class_name: str | None = None
    """Runtime class of the pods."""
    service_account_name: str | None = None
    """Service account of the pods; its token is never mounted."""
    annotations: dict[str, str] | None = None
    """Annotations of the pods."""
    labels: dict[str, str] | None = None
    """Labels of the pods."""
    env: FreeList | None = None
    """Environment variables, as in a container."""
    env_from: FreeList | None = None
    """Environment from Secrets or ConfigMaps, as in a container."""
    volumes: FreeList | None = None
    """Further volumes, as in a pod."""
    volume_mounts: FreeList | None = None
    """Their mounts, as in a container."""
    pod_security_context: Free | None = None
    """Replaces the pod's security context."""
    security_context: Free | None = None
    """Replaces the container's security context."""
    active_deadline: Duration | None = None
    """The run is ended after this time, and fails."""
    backoff_limit: int = Field(0, ge=0, le=10)
    """How often a lost runner is started again, from the beginning; 0 because a torn run measures nothing."""
    linger: Duration | None = None
    """How long the pod stays after the run, for a last scrape of its metrics; the operator's default if not given."""
