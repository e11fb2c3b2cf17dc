"""line_by_line, last line first."""

from evalscope.perf.plugin.datasets.line_by_line import LineByLineDatasetPlugin
from evalscope.perf.plugin.registry import register_dataset


@register_dataset("my_line_by_line")
class MyLineByLine(LineByLineDatasetPlugin):
    def build_messages(self):
        yield from reversed(list(super().build_messages()))
