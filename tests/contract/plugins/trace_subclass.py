"""Recorded traffic, with a mark."""

from evalscope.perf.plugin.datasets.workload_trace import WorkloadTraceDatasetPlugin
from evalscope.perf.plugin.registry import register_dataset


@register_dataset("my_trace")
class MyTrace(WorkloadTraceDatasetPlugin):
    pass
