"""`spec.target`: the endpoint to measure, and how to reach it."""

import re
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from perfbench_api.sections.references import KeyRef, ServiceRef
from perfbench_api.values import Duration, Free, Section, Tokens, Unit

FRAMING = frozenset(
    "connection content-length expect keep-alive proxy-connection te trailer transfer-encoding upgrade".split()
)
"""Headers that belong to the connection and the message, not to the request: another value breaks them."""


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
    env: str | None = Field(None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """The environment variable (or name in .env) that holds its value; in the cluster one of the runner's."""

    @field_validator("name", mode="after")
    @classmethod
    def _is_not_the_connections_own(cls, name: str) -> str:
        if name.lower() in FRAMING:
            raise ValueError(f"{name} says how a request is framed, which perfbench does itself; leave it out")
        return name

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if [self.value, self.secret_key_ref, self.env].count(None) != 2:
            raise ValueError("give one of value, secretKeyRef and env")
        return self

    @property
    def variable(self) -> str:
        """The environment variable that carries a secret value: X-Auth -> PERFBENCH_HEADER_X_AUTH, if none is named."""
        return self.env or "PERFBENCH_HEADER_" + "".join(c if c.isalnum() else "_" for c in self.name).upper()


class Authority(Section):
    """Certificates (PEM) of the authority that signed the target's certificate."""

    file: str | None = None
    """A file, on a laptop or in the image."""
    secret_key_ref: KeyRef | None = None
    """A key of a Secret."""
    config_map_key_ref: KeyRef | None = None
    """A key of a ConfigMap."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if sum(source is not None for source in (self.file, self.secret_key_ref, self.config_map_key_ref)) != 1:
            raise ValueError("give exactly one of file, secretKeyRef and configMapKeyRef")
        return self


class Tls(Section):
    """How the target's certificate is verified, and which client certificate is presented."""

    ca: Authority | None = None
    """Trust this authority instead of the system's."""
    cert_file: str | None = None
    """Client certificate to present (PEM file)."""
    key_file: str | None = None
    """Its private key (PEM file); read from certFile if not given."""
    insecure_skip_verify: bool = False
    """Accept any certificate. Only for tests."""

    @model_validator(mode="after")
    def _a_key_has_its_certificate(self) -> Self:
        if self.key_file is not None and self.cert_file is None:
            raise ValueError("keyFile is the key of a certificate; give certFile, too")
        return self


class MockTarget(Section):
    """A bundled mock endpoint that the run starts by itself: no model needed."""

    ttft: Duration = 0.05
    """Time from request to first token."""
    itl: Duration = 0.01
    """Time between tokens."""
    ttft_jitter: Duration = 0.0
    """Uniform jitter of ttft, in both directions."""
    itl_jitter: Duration = 0.0
    """Uniform jitter of itl, in both directions."""
    output_tokens: Tokens = Field(64, ge=1)
    """Length of an answer, unless the request asks for fewer tokens."""
    slots: int | None = Field(None, ge=1)
    """Serve at most so many requests at a time; others wait in a queue. Nobody waits if not given."""
    prefill_speed: Annotated[float, Unit("tokens/s")] | None = Field(None, gt=0)
    """The first token takes the time of so many prompt tokens a second longer."""
    batch_slowdown: float = Field(0.0, ge=0)
    """With slots: each further request being served makes all of them this share slower."""
    error_rate: float = Field(0.0, ge=0, le=1)
    """Share of requests answered with HTTP 500."""
    stall_rate: float = Field(0.0, ge=0, le=1)
    """Share of streams that pause in the middle."""
    stall: Duration = 1.0
    """How long they pause."""
    broken_rate: float = Field(0.0, ge=0, le=1)
    """Share of streams whose connection is cut in the middle."""

    @model_validator(mode="after")
    def _jitter_is_within(self) -> Self:
        for name, jitter, mean in (("ttft", self.ttft_jitter, self.ttft), ("itl", self.itl_jitter, self.itl)):
            if jitter > mean:
                raise ValueError(f"{name}Jitter is more than {name}, so that a token would come before its cause")
        if self.batch_slowdown and self.slots is None:
            raise ValueError("batchSlowdown is of requests in slots; give slots, too")
        return self


class MetricsSource(Section):
    """One Prometheus endpoint of the server, read during the run."""

    url: str | None = None
    """Address of its metrics page."""
    service: ServiceRef | None = None
    """Or the Service whose pods serve it."""
    include: list[str] = []
    """Metrics to keep, by name, with `*` as wildcard; those that perfbench knows if empty."""


class Endpoint(Section):
    """The fields of target that plugins also see."""

    url: str | None = None
    """Address of the endpoint: http://host:8000/v1/chat/completions, or unix:/run/vllm.sock:/v1/chat/completions on a
    laptop; the API's usual path is added to a host, a socket or /v1."""
    model: str | None = Field(None, min_length=1)
    """Name of the model, as the endpoint serves it."""
    api: str = "openai"
    """API plugin that speaks to the endpoint."""
    api_args: Free | None = None
    """The API plugin's own options; `perfbench plugins` lists them."""
    connect_timeout: Duration | None = Field(10.0, gt=0)
    """Maximum time to connect, TLS included."""
    read_timeout: Duration | None = Field(300.0, gt=0)
    """Maximum time without data from the endpoint within a request."""
    total_timeout: Duration | None = Field(3600.0, gt=0)
    """Maximum time of a request."""
    proxy: str | None = None
    """Send through this HTTP proxy: its URL, or `environment` for what HTTP_PROXY, HTTPS_PROXY and NO_PROXY say."""

    @field_validator("model", mode="after")
    @classmethod
    def _is_a_name(cls, model: str | None) -> str | None:
        if model is not None and not model.strip():
            raise ValueError("is blank; name the model as the endpoint serves it")
        return model


def _check_scheme(url: str) -> None:
    if any(c.isspace() or not c.isprintable() for c in url):
        raise ValueError(f"url {url[:200]!r} holds a space or a control character, which no URL does")
    if url.lower().startswith("unix:"):
        if not re.fullmatch(r"unix:/[^:]*[^:/](:(/.*)?)?", url):
            raise ValueError(f"url {url!r} names no socket; write it as unix:/run/vllm.sock:/v1/chat/completions")
        return
    scheme, separator, rest = url.partition("://")
    if not separator:
        raise ValueError(f"url {url!r} has no scheme; write http://{url} or https://{url}")
    if scheme.lower() not in ("http", "https"):
        raise ValueError(f"url {url!r} is of scheme {scheme}; only http:// and https:// are spoken: http://{rest}")


class Target(Endpoint):
    """The model endpoint to measure: exactly one of url, service and mock; of several targets, what they have in common."""

    service: ServiceRef | None = None
    """A Kubernetes Service instead of a URL."""
    mock: MockTarget | None = None
    """A mock endpoint that the run starts by itself."""
    api_key: ApiKey | None = None
    """Where the API key is; sent as the API expects it, usually as `Authorization: Bearer`."""
    headers: list[Header] = []
    """HTTP headers of every request."""
    tls: Tls = Tls()
    """How the endpoint's certificate is verified."""
    wait_for: Duration | None = None
    """How long to wait for the target to answer; if not given, 5m in a cluster and no wait on a laptop."""
    connection_test: bool = True
    """Send one short request first, so that a wrong URL, key or model is reported at once."""
    keep_alive: bool = True
    """Send one request after the other over a connection; false: each over one of its own, as `Connection: close` asks for."""
    exclusive: bool = True
    """In the cluster: run only while no other benchmark loads the same target; false where sharing it is meant."""
    metrics: Literal["auto", "off"] | list[MetricsSource] = Field(
        "auto", json_schema_extra={"x-kubernetes-preserve-unknown-fields": True}
    )
    """The server's own Prometheus metrics: auto (its /metrics, if there is one), off, or a list of sources."""

    @field_validator("metrics", mode="before")
    @classmethod
    def _accept_bare_off(cls, value: object) -> object:
        """YAML reads a bare off as false, and on as true."""
        if isinstance(value, str) and "://" in value:
            raise ValueError(f"{value!r} is one source of a list: [{{url: ...}}]")
        return {False: "off", True: "auto"}[value] if isinstance(value, bool) else value

    @model_validator(mode="after")
    def _is_sound(self) -> Self:
        """That it has an address at all, the spec asks for: of several targets, each may have its own."""
        check_target(self)
        if self.mock is not None and self.model is None:
            self.model = "mock"
        return self


ADDRESSES = ("url", "service", "mock")


def check_target(target: Target) -> None:
    """Raise ValueError where the fields of a target do not go together."""
    given = [name for name in ADDRESSES if getattr(target, name) is not None]
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)} exclude each other; give one of them")
    if target.url is not None:
        _check_scheme(target.url)
    names = [header.name.lower() for header in target.headers]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"headers: {name} is given twice; each is sent once")


def check_address(target: Target) -> None:
    """Raise ValueError where nothing says what to send to."""
    if all(getattr(target, name) is None for name in ADDRESSES):
        raise ValueError("nothing to measure; give url, service or mock")
