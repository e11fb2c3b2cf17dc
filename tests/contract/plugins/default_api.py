"""The recommended way: DefaultApiPlugin with two methods."""

from typing import Any, Dict, List, Tuple, Union

from evalscope.perf.arguments import Arguments
from evalscope.perf.plugin.registry import register_api
from evalscope.perf.plugin.api import default_api
from evalscope.utils import get_logger

logger = get_logger(log_level=30)


@register_api(["default_mine", "default_mine_too"])
class DefaultMine(default_api.DefaultApiPlugin):
    def build_request(self, messages: Union[List[Dict], str], param: Arguments = None) -> Dict:
        param = param or self.param
        body = {"messages": messages, "model": param.model, "max_tokens": param.max_tokens, "stream": param.stream}
        if param.stream:
            body["stream_options"] = {"include_usage": True}
        body.update(param.extra_args or {})
        return body

    def parse_responses(self, responses: List[Dict], request: str = None, **kwargs: Any) -> Tuple[int, int]:
        usage = responses[-1].get("usage") or {}
        return usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0)
