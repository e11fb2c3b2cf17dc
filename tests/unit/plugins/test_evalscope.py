"""Imports from evalscope find ours, and only where nothing else provides them."""

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from perfbench_plugins import evalscope
from perfbench_plugins.evalscope.names import EXPORTS, MODULES
from perfbench_plugins.registry import ApiRegistry, DatasetRegistry

IMPORTS = {
    "evalscope.api.dataset": "DatasetSource",
    "evalscope.constants": "DEFAULT_WORK_DIR HEARTBEAT_INTERVAL_SEC HubType VisualizerType",
    "evalscope.perf.arguments": "Arguments add_argument parse_args ParseKVAction",
    "evalscope.perf.main": "run_perf_benchmark",
    "evalscope.perf.multi_turn_args": "MultiTurnArgs IntOrRange",
    "evalscope.perf.plugin": "register_api register_dataset ApiRegistry DatasetRegistry DatasetPluginBase OpenaiPlugin",
    "evalscope.perf.plugin.api": "ApiPluginBase CustomPlugin DashScopeApiPlugin OpenaiPlugin OpenaiEmbeddingPlugin"
    " OpenaiRerankPlugin OpenAIResponsesPlugin",
    "evalscope.perf.plugin.api.base": "ApiPluginBase",
    "evalscope.perf.plugin.api.custom_api": "CustomPlugin",
    "evalscope.perf.plugin.api.dashscope_api": "DashScopeApiPlugin",
    "evalscope.perf.plugin.api.default_api": "DefaultApiPlugin StreamedResponseHandler",
    "evalscope.perf.plugin.api.openai_api": "OpenaiPlugin",
    "evalscope.perf.plugin.api.openai_embedding_api": "OpenaiEmbeddingPlugin",
    "evalscope.perf.plugin.api.openai_rerank_api": "OpenaiRerankPlugin",
    "evalscope.perf.plugin.api.openai_responses_api": "OpenAIResponsesPlugin",
    "evalscope.perf.plugin.datasets": "DatasetPluginBase CustomDatasetPlugin RandomDatasetPlugin TrieCodeQaPlugin"
    " EmbeddingDatasetPlugin FlickrDatasetPlugin RandomVLDatasetPlugin RerankDatasetPlugin",
    "evalscope.perf.plugin.datasets.base": "DatasetPluginBase Message Messages Turn Conversation BaseDatasetArgs",
    "evalscope.perf.plugin.datasets.custom": "CustomDatasetPlugin CustomMultiTurnDatasetPlugin",
    "evalscope.perf.plugin.datasets.dataset_args": "BaseDatasetArgs TextLengthArgs TextDatasetArgs MultiTurnDatasetArgs",
    "evalscope.perf.plugin.datasets.embedding_dataset": "EmbeddingDatasetPlugin RandomEmbeddingDatasetPlugin",
    "evalscope.perf.plugin.datasets.flickr8k": "FlickrDatasetPlugin",
    "evalscope.perf.plugin.datasets.kontext_bench": "KontextDatasetPlugin",
    "evalscope.perf.plugin.datasets.line_by_line": "LineByLineDatasetPlugin",
    "evalscope.perf.plugin.datasets.longalpaca": "LongAlpacaDatasetPlugin",
    "evalscope.perf.plugin.datasets.mmmu_multi_image": "MMMUMultiImageDatasetPlugin",
    "evalscope.perf.plugin.datasets.multi_turn": "RandomMultiTurnDatasetPlugin ShareGPTZhMultiTurnPlugin",
    "evalscope.perf.plugin.datasets.openqa": "OpenqaDatasetPlugin",
    "evalscope.perf.plugin.datasets.random_dataset": "RandomDatasetPlugin",
    "evalscope.perf.plugin.datasets.random_vl_dataset": "RandomVLDatasetPlugin",
    "evalscope.perf.plugin.datasets.rerank_dataset": "RerankDatasetPlugin RandomRerankDatasetPlugin",
    "evalscope.perf.plugin.datasets.share_gpt": "ShareGPTDatasetPluginBase ShareGPTZhDatasetPlugin",
    "evalscope.perf.plugin.datasets.speed_benchmark": "SpeedBenchmarkDatasetPlugin SpeedBenchmarkLongDatasetPlugin",
    "evalscope.perf.plugin.datasets.swe_smith": "SweSmithDatasetPlugin",
    "evalscope.perf.plugin.datasets.trie": "TrieAgenticCodingPlugin TrieCodeQaPlugin TrieOfficeWorkPlugin",
    "evalscope.perf.plugin.datasets.utils": "load_tokenizer tokenize_chat_messages gen_prompt_decode_to_target_len"
    " truncate_text_to_token_len fit_text_to_token_len fit_prefix_to_budget converge_to_token_len",
    "evalscope.perf.plugin.datasets.workload_trace": "WorkloadTraceDatasetPlugin TraceRecord WorkloadTraceArgs",
    "evalscope.perf.plugin.registry": "register_api register_dataset ApiRegistry DatasetRegistry PluginRegistry",
    "evalscope.perf.utils.benchmark_util": "BenchmarkData BenchmarkMetrics MetricsAccumulator Metrics is_stream_body",
    "evalscope.perf.utils.body_meta": "BODY_META_ARRIVAL_OFFSET BODY_META_HEADERS BODY_META_IS_WARMUP"
    " BODY_META_PREFIX BODY_META_REQUEST_ID",
    "evalscope.perf.utils.db_util": "DatabaseColumns calculate_percentiles encode_data load_prompt write_json_file",
    "evalscope.perf.utils.handler": "exception_handler",
    "evalscope.perf.utils.local_server": "create_app start_app",
    "evalscope.perf.utils.perf_constants": "Metrics PercentileMetrics",
    "evalscope.utils": "get_logger configure_logging get_secret_value seed_everything jsonl_to_list",
    "evalscope.utils.argument_utils": "get_secret_value parse_int_or_float",
    "evalscope.utils.io_utils": "PIL_to_base64 base64_to_PIL jsonl_to_list json_to_dict yaml_to_dict csv_to_list"
    " current_time dump_jsonl_data",
    "evalscope.utils.logger": "get_logger configure_logging",
    "evalscope.utils.model_utils": "seed_everything",
}
"""What plugins and scripts written for EvalScope import."""


@pytest.fixture(autouse=True)
def forget(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    evalscope.install()
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "evalscope"]:
        del sys.modules[name]


@pytest.mark.parametrize("module", IMPORTS)
def test_what_plugins_import_is_there(module: str) -> None:
    theirs = importlib.import_module(module)
    for name in IMPORTS[module].split():
        assert hasattr(theirs, name), f"{module} has no {name}"


def test_every_module_that_is_offered_can_be_imported_and_is_tried_above() -> None:
    holders = {name for name, ours in MODULES.items() if not ours and name not in EXPORTS}
    assert evalscope.modules().keys() - holders == IMPORTS.keys() | {"evalscope.api.dataset.hub"}


@pytest.mark.parametrize(
    ("theirs", "ours", "name"),
    [
        ("evalscope.perf.arguments", "perfbench_plugins.arguments", "Arguments"),
        ("evalscope.perf.plugin.registry", "perfbench_plugins.registry", "register_api"),
        ("evalscope.perf.plugin.api.openai_api", "perfbench_plugins.api.openai_api", "OpenaiPlugin"),
        ("evalscope.perf.plugin.datasets.custom", "perfbench_plugins.datasets.custom", "CustomDatasetPlugin"),
        ("evalscope.perf.plugin", "perfbench_plugins.api.base", "ApiPluginBase"),
        ("evalscope.perf.utils.benchmark_util", "perfbench_plugins.benchmark_data", "BenchmarkData"),
        ("evalscope.perf.main", "perfbench_runner.main", "run_perf_benchmark"),
    ],
)
def test_both_names_are_one_object(theirs: str, ours: str, name: str) -> None:
    assert getattr(importlib.import_module(theirs), name) is getattr(importlib.import_module(ours), name)


def test_a_package_offers_all_its_classes_to_a_star() -> None:
    names: dict[str, Any] = {}
    exec("from evalscope.perf.plugin import *", names)
    assert {"OpenaiPlugin", "DatasetPluginBase", "RandomVLDatasetPlugin", "register_api"} <= names.keys()


def test_a_class_registered_by_their_decorator_is_in_our_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DatasetRegistry, "entries", {})
    base = importlib.import_module("evalscope.perf.plugin.datasets.base")
    registry = importlib.import_module("evalscope.perf.plugin.registry")
    plugin = type("Mine", (base.DatasetPluginBase,), {"build_messages": lambda self: iter("a"), "__module__": __name__})
    registry.register_dataset("of_theirs")(plugin)
    assert DatasetRegistry.entries["of_theirs"].plugin is plugin


@pytest.mark.parametrize("name", ["evalscope.report", "evalscope.perf.sla", "evalscope.perf.core.pipeline"])
def test_what_evalscope_has_and_we_do_not_is_an_import_error(name: str) -> None:
    with pytest.raises(ModuleNotFoundError, match=name.replace(".", r"\.").removesuffix(r"\.pipeline")):
        importlib.import_module(name)


def test_a_name_that_we_do_not_have_is_named() -> None:
    with pytest.raises(ImportError, match="SystemOnePerfPlugin"):
        exec("from evalscope.perf.plugin.api import SystemOnePerfPlugin")


def test_installing_twice_adds_one_finder() -> None:
    before = len(sys.meta_path)
    evalscope.install()
    assert len(sys.meta_path) == before


def test_the_real_evalscope_wins_where_it_is_installed(tmp_path: Path) -> None:
    (tmp_path / "evalscope").mkdir()
    (tmp_path / "evalscope" / "__init__.py").write_text("IS_REAL = True\n")
    program = "import perfbench_plugins, evalscope; print(evalscope.IS_REAL)"
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert result.stdout == "True\n"


def test_their_names_of_apis_all_resolve() -> None:
    names = "openai local local_vllm dashscope custom openai_embedding embedding openai_rerank rerank"
    assert set(names.split()) <= set(ApiRegistry.all_classes())
