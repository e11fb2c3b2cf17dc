"""Dataset `workload_trace`: recorded traffic, with its bodies and its arrivals."""

import json
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from perfbench_plugins.body_meta import is_of_request
from perfbench_plugins.datasets.base import DatasetPluginBase, Item
from perfbench_plugins.datasets.dataset_args import BodyArgs
from perfbench_plugins.datasets.traces import Trace, seconds
from perfbench_plugins.registry import register_dataset

GRAMMARS = {
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
    "structured_outputs",
    "json_schema",
    "ebnf",
}
"""Fields by which vLLM and SGLang bind an answer to a grammar, beside OpenAI's."""


def _body(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


class TraceRecord(BaseModel):
    """One line of a trace."""

    model_config = ConfigDict(extra="forbid")

    body: Annotated[dict[str, Any], BeforeValidator(_body)]
    timestamp: Annotated[float, BeforeValidator(seconds)]
    headers: dict[str, str] | None = None
    request_id: str | None = None
    completion_tokens: int | None = Field(None, ge=1)


class WorkloadTraceArgs(BodyArgs):
    """Options of workload_trace."""

    match_output_length: bool = False
    """Make answers as long as recorded: max_tokens from completion_tokens, and ignore_eos where no grammar ends them."""


@register_dataset("workload_trace")
class WorkloadTraceDatasetPlugin(DatasetPluginBase):
    """JSONL with body, timestamp (seconds or ISO 8601) and optionally headers, request_id and completion_tokens."""

    args_schema = WorkloadTraceArgs
    provides_arrival_schedule = True
    requires_model = False

    def build_messages(self) -> Iterator[Any]:
        """One Item for each line, in the order of time."""
        trace = Trace(self.query_parameters.dataset_path, TraceRecord, lambda record: record.timestamp)
        for at_s, record in trace.play(self.dataset_args.speed):
            headers = {name: value for name, value in (record.headers or {}).items() if is_of_request(name)}
            yield Item(self._sent(record), at_s, headers=headers or None, request_id=record.request_id)

    def _sent(self, record: TraceRecord) -> dict[str, Any]:
        body, args = dict(record.body), self.dataset_args
        model = args.send_to(body.get("model"))
        if model is not None:
            body["model"] = model
        if args.match_output_length and record.completion_tokens:
            name = "max_completion_tokens" if "max_completion_tokens" in body else "max_tokens"
            body[name] = record.completion_tokens
            if not _has_grammar(body):  # vLLM crashes when it must go on after a grammar's end
                body["ignore_eos"] = True
        return body


def _has_grammar(body: dict[str, Any]) -> bool:
    """Whether the answer is bound to a grammar: a JSON schema, or a tool that must be called."""
    wanted = body.get("response_format")
    is_json = isinstance(wanted, dict) and wanted.get("type") in ("json_object", "json_schema")
    is_call = bool(body.get("tools")) and body.get("tool_choice") not in (None, "none", "auto")
    return is_json or is_call or bool(GRAMMARS & body.keys())
