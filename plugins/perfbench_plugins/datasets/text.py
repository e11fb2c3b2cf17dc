"""What datasets of real text share. No dataset itself."""

from perfbench_plugins.datasets.base import DatasetPluginBase
from perfbench_plugins.datasets.dataset_args import TextDatasetArgs


class TextDataset(DatasetPluginBase):
    """A dataset whose prompts are real text; its `prepare_messages` does what TextDatasetArgs say."""

    args_schema = TextDatasetArgs
