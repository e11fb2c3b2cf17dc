"""The PerfBenchmark resource: its models, its errors and what is generated from them."""

GROUP = "perfbench.io"
VERSION = "v1alpha1"
KIND = "PerfBenchmark"
PLURAL = "perfbenchmarks"
