"""Dataset `random_vl`: random text with images of noise."""

from typing import Any

from perfbench_plugins.datasets.images import random_png
from perfbench_plugins.datasets.random_text import SharedPrefixDataset
from perfbench_plugins.images import data_url
from perfbench_plugins.registry import register_dataset


@register_dataset("random_vl")
class RandomVLDatasetPlugin(SharedPrefixDataset):
    """As `random`, with imageNum images of imageWidth x imageHeight pixels in each prompt, always as chat messages."""

    def prompt(self, length: int) -> Any:
        """Chat messages with text and images; the length is the text's alone."""
        parameters = self.query_parameters
        size = parameters.image_width, parameters.image_height
        text = self.prefixed_text(length)
        images = (random_png(*size, parameters.image_format, self.random) for _ in range(parameters.image_num))
        message = self.create_message(text, [data_url(image) for image in images])
        system = [self.create_message(self.system_prompt, role="system")] if self.system_prompt else []
        return [*system, message]
