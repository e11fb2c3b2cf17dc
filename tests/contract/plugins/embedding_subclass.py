"""Embeddings with a field more."""

from evalscope.perf.plugin.api.openai_embedding_api import OpenaiEmbeddingPlugin
from evalscope.perf.plugin.registry import register_api


@register_api("my_embedding")
class MyEmbedding(OpenaiEmbeddingPlugin):
    def build_request(self, messages, param=None):
        return {**super().build_request(messages, param), "encoding_format": "float"}
