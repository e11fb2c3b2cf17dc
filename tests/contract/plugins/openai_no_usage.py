"""No usage: tokens are counted by a tokenizer that the plugin has loaded itself."""

from evalscope.perf.plugin.api.openai_api import OpenaiPlugin
from evalscope.perf.plugin.datasets.utils import load_tokenizer
from evalscope.perf.plugin.registry import register_api


@register_api("openai_no_usage")
class NoUsage(OpenaiPlugin):
    def __init__(self, param):
        super().__init__(param)
        self.tokenizer = load_tokenizer(param.tokenizer_path)

    def build_request(self, messages, param=None):
        body = super().build_request(messages, param)
        body.pop("stream_options", None)
        return body
