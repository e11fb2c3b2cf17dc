"""Batches of texts, shouted."""

from evalscope.perf.plugin.datasets.embedding_dataset import EmbeddingBatchDatasetPlugin
from evalscope.perf.plugin.registry import register_dataset


@register_dataset("my_batches")
class MyBatches(EmbeddingBatchDatasetPlugin):
    def build_messages(self):
        for batch in super().build_messages():
            yield [text.upper() for text in batch]
