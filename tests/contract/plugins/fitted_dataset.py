"""Options of its own, and texts of a wanted length behind a prefix."""

from evalscope.perf.plugin.datasets.base import DatasetPluginBase
from evalscope.perf.plugin.datasets.dataset_args import TextLengthArgs
from evalscope.perf.plugin.registry import register_dataset


class FittedArgs(TextLengthArgs):
    shout: bool = False


@register_dataset("my_fitted")
class MyFitted(DatasetPluginBase):
    args_schema = FittedArgs

    def build_messages(self):
        long = "this is a long text about a river and a mill and all that lies between them in the valley " * 3
        for text in ("short", long):
            if self.dataset_args.shout:
                text = text.upper()
            messages = self.prepare_messages(text)
            if messages is not None:
                yield messages
