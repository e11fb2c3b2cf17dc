"""Datasets `trie_agentic_coding`, `trie_code_qa` and `trie_office_work`: lengths and pauses of agents' real work.

The traces (applied-compute/trie) hold no text, only how long each message, answer and tool call was; texts of those
lengths are made up.
"""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, Field, ValidationError, model_validator

from perfbench_api.resource import problems
from perfbench_plugins.datasets.base import Conversation, Turn
from perfbench_plugins.datasets.conversations import conversation_item, ended
from perfbench_plugins.datasets.dataset_args import EndArgs
from perfbench_plugins.datasets.errors import DatasetError
from perfbench_plugins.datasets.hub import id_on
from perfbench_plugins.datasets.random_text import RandomTextDataset
from perfbench_plugins.registry import register_dataset

HUB_ID = {"modelscope": "evalscope/trie-workloads"}


class TrieArgs(EndArgs):
    """Options of the trie datasets."""

    tool_time_scale: float = Field(1.0, ge=0)
    """Factor on the recorded time of tool calls; 0 leaves the pauses out."""


class AgentTrace(BaseModel):
    """One agent's work: lengths in tokens, times in seconds."""

    input_prompt_length: int = Field(ge=0)
    num_turns: int = Field(ge=0)
    assistant_response_length: list[int]
    tool_call_output_length: list[int]
    tool_call_latency: list[float]
    final_assistant_response_length: int = Field(ge=1)

    @model_validator(mode="after")
    def _lists_fit(self) -> "AgentTrace":
        for name in ("assistant_response_length", "tool_call_output_length", "tool_call_latency"):
            if len(getattr(self, name)) != self.num_turns:
                raise ValueError(f"{name} has {len(getattr(self, name))} entries, but num_turns is {self.num_turns}")
        return self


class TrieReplay(RandomTextDataset):
    """Conversations of num_turns + 1 turns, each as long and after such a pause as recorded."""

    FILE_NAME = ""
    args_schema = TrieArgs

    def build_messages(self) -> Iterator[Any]:
        """One conversation for each line."""
        if not self.query_parameters.dataset_path:
            id_on(self.query_parameters.data_source, HUB_ID)  # it is on one hub only
        path = self.download_hub_file(HUB_ID["modelscope"], self.FILE_NAME)
        for number, row in self.json_lines(path):
            try:
                trace = AgentTrace.model_validate(row)
            except ValidationError as error:
                raise DatasetError(f"dataset.path: {path!r}, line {number}: {problems(error, AgentTrace)[0]}") from None
            yield conversation_item(self._conversation(trace), self.dataset_args)

    def _conversation(self, trace: AgentTrace) -> Conversation:
        lengths = [trace.input_prompt_length, *trace.tool_call_output_length]
        answers = [*trace.assistant_response_length, trace.final_assistant_response_length]
        pauses = [None, *(latency * self.dataset_args.tool_time_scale for latency in trace.tool_call_latency)]
        return ended(
            # some servers refuse an empty message and an answer of no token
            Turn([self.create_message(self.text(max(1, length)))], max(1, answer), pause)
            for length, answer, pause in zip(lengths, answers, pauses, strict=True)
        )


@register_dataset("trie_agentic_coding")
class TrieAgenticCodingPlugin(TrieReplay):
    """Agents that write code."""

    FILE_NAME = "agentic_coding_8k.jsonl"


@register_dataset("trie_code_qa")
class TrieCodeQaPlugin(TrieReplay):
    """Agents that answer questions on code."""

    FILE_NAME = "code_qa_8k.jsonl"


@register_dataset("trie_office_work")
class TrieOfficeWorkPlugin(TrieReplay):
    """Agents that do office work."""

    FILE_NAME = "office_work_8k.jsonl"
