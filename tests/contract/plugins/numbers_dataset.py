"""As many messages as requests."""

from evalscope.perf.plugin.datasets.base import DatasetPluginBase
from evalscope.perf.plugin.registry import register_dataset


@register_dataset("my_numbers")
class MyNumbers(DatasetPluginBase):
    def build_messages(self):
        parameters = self.query_parameters
        for number in range(parameters.number):
            yield [self.create_message(f"{number} of {parameters.number} by {parameters.parallel}")]
