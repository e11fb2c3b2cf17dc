"""The sections of a PerfBenchmark's spec, one file for each. A field is declared here once: manifest, flags, CRD and
reference documentation are generated from it.

`Endpoint`, `Prompts` and `Request` are also what plugins see: `perfbench_plugins.arguments.Arguments` inherits them flat,
under the names of `evalscope perf`.
"""

from perfbench_api.sections.dataset import Dataset, Prompts
from perfbench_api.sections.goodput import Goodput
from perfbench_api.sections.guards import Budget, Guards
from perfbench_api.sections.load import Load, Stage, Warmup
from perfbench_api.sections.objectives import Objective, PromptTokens
from perfbench_api.sections.plugins import PluginSource
from perfbench_api.sections.price import Price
from perfbench_api.sections.profile import Burst, Point, Profile, Ramp, Sine, Steps, Timestamps
from perfbench_api.sections.references import KeyRef, NameRef, ServiceRef
from perfbench_api.sections.request import Request
from perfbench_api.sections.results import Results
from perfbench_api.sections.runner import Runner
from perfbench_api.sections.search import Search
from perfbench_api.sections.target import ApiKey, Authority, Endpoint, Header, MetricsSource, MockTarget, Target, Tls
from perfbench_api.sections.targets import OneTarget
from perfbench_api.sections.until import Until
from perfbench_api.sections.workloads import Workload

__all__ = [
    "ApiKey",
    "Authority",
    "Budget",
    "Burst",
    "Dataset",
    "Endpoint",
    "Goodput",
    "Guards",
    "Header",
    "KeyRef",
    "Load",
    "MetricsSource",
    "MockTarget",
    "NameRef",
    "Objective",
    "OneTarget",
    "PluginSource",
    "Point",
    "Price",
    "Profile",
    "PromptTokens",
    "Prompts",
    "Ramp",
    "Request",
    "Results",
    "Runner",
    "Search",
    "ServiceRef",
    "Sine",
    "Stage",
    "Steps",
    "Target",
    "Timestamps",
    "Tls",
    "Until",
    "Warmup",
    "Workload",
]
