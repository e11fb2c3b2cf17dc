"""Reranking: API and dataset."""

from evalscope.perf.plugin.api.openai_rerank_api import OpenaiRerankPlugin
from evalscope.perf.plugin.datasets.rerank_dataset import RerankDatasetPlugin
from evalscope.perf.plugin.registry import register_api, register_dataset


@register_api("my_rerank")
class MyRerank(OpenaiRerankPlugin):
    def build_request(self, messages, param=None):
        return {**super().build_request(messages, param), "top_n": 1}


@register_dataset("my_rerank")
class MyRerankDataset(RerankDatasetPlugin):
    def build_messages(self):
        for item in super().build_messages():
            yield {**item, "query": item["query"].upper()}
