"""OpenaiPlugin with a field more, which reads arguments as EvalScope's own code does."""

from evalscope.perf.plugin.api import OpenaiPlugin
from evalscope.perf.plugin.registry import register_api


@register_api("openai_subclass")
class Priority(OpenaiPlugin):
    def build_request(self, messages, param=None):
        body = super().build_request(messages, param)
        param = self.param
        body["priority"] = {
            "port": param.port,
            "workers": param.num_workers,
            "template": param.query_template,
            "visualizer": param.visualizer,
            "every": param.log_every_n_query,
            "chat": param.apply_chat_template,
            "total": param.total_count,
            "warmup": param.warmup_count,
            "extra": (param.extra_args or {}).get("top_k"),
            "number": param.number if isinstance(param.number, int) else param.number[0],
        }
        return body
