"""Conversations, turn by turn."""

from typing import Iterator

from evalscope.perf.plugin.datasets.base import Conversation, DatasetPluginBase, Turn
from evalscope.perf.plugin.registry import register_dataset


@register_dataset("my_turns")
class MyTurns(DatasetPluginBase):
    def build_messages(self) -> Iterator[Conversation]:
        for name in ("a", "b"):
            yield [
                Turn(
                    messages=[{"role": "system", "content": "be brief"}, {"role": "user", "content": name}],
                    rid=f"c-{name}",
                ),
                Turn(messages=[{"role": "tool", "content": "42"}], max_tokens=2, tool_call_latency=0.05),
                Turn(messages=[{"role": "user", "content": "bye"}], is_final=True),
            ]
