"""EvalScope's modules, and ours with the same names in them."""

_APIS = {
    "base": "ApiPluginBase",
    "custom_api": "CustomPlugin",
    "dashscope_api": "DashScopeApiPlugin",
    "default_api": "DefaultApiPlugin StreamedResponseHandler",
    "openai_api": "OpenaiPlugin",
    "openai_embedding_api": "OpenaiEmbeddingPlugin",
    "openai_rerank_api": "OpenaiRerankPlugin",
    "openai_responses_api": "OpenAIResponsesPlugin",
}
_DATASETS = {
    "base": "DatasetPluginBase",
    "custom": "CustomDatasetPlugin",
    "embedding": "EmbeddingDatasetPlugin EmbeddingBatchDatasetPlugin RandomEmbeddingDatasetPlugin"
    " RandomEmbeddingBatchDatasetPlugin",
    "hub_images": "FlickrDatasetPlugin KontextDatasetPlugin",
    "line_by_line": "LineByLineDatasetPlugin",
    "longalpaca": "LongAlpacaDatasetPlugin",
    "mmmu_multi_image": "MMMUMultiImageDatasetPlugin",
    "multi_turn": "RandomMultiTurnDatasetPlugin CustomMultiTurnDatasetPlugin",
    "openqa": "OpenqaDatasetPlugin",
    "random_dataset": "RandomDatasetPlugin",
    "random_vl": "RandomVLDatasetPlugin",
    "rerank": "RerankDatasetPlugin RandomRerankDatasetPlugin",
    "share_gpt": "ShareGPTZhDatasetPlugin ShareGPTEnDatasetPlugin ShareGPTZhMultiTurnPlugin ShareGPTEnMultiTurnPlugin",
    "speed_benchmark": "SpeedBenchmarkDatasetPlugin SpeedBenchmarkLongDatasetPlugin",
    "swe_smith": "SweSmithDatasetPlugin",
    "trie": "TrieAgenticCodingPlugin TrieCodeQaPlugin TrieOfficeWorkPlugin",
    "workload_trace": "WorkloadTraceDatasetPlugin",
}
OURS = "perfbench_plugins"
HERE = f"{OURS}.evalscope"
EXPORTS = {
    "evalscope.perf.plugin.api": {
        name: f"{OURS}.api.{module}" for module, names in _APIS.items() for name in names.split()
    },
    "evalscope.perf.plugin.datasets": {
        name: f"{OURS}.datasets.{module}" for module, names in _DATASETS.items() for name in names.split()
    },
}
"""Packages that offer the classes of their modules: class, and our module that has it, imported when it is asked for."""
EXPORTS["evalscope.perf.plugin"] = {
    **EXPORTS["evalscope.perf.plugin.api"],
    **EXPORTS["evalscope.perf.plugin.datasets"],
    **dict.fromkeys(("ApiRegistry", "DatasetRegistry", "register_api", "register_dataset"), f"{OURS}.registry"),
}
_THEIR_DATASETS = {
    "custom": ("custom", "multi_turn"),
    "embedding_dataset": ("embedding",),
    "flickr8k": ("hub_images",),
    "kontext_bench": ("hub_images",),
    "multi_turn": ("multi_turn", "share_gpt"),
    "random_vl_dataset": ("random_vl",),
    "rerank_dataset": ("rerank",),
}
"""Modules of datasets that are called otherwise there, or cut otherwise."""

MODULES: dict[str, tuple[str, ...]] = {
    "evalscope": (),
    "evalscope.api": (),
    "evalscope.api.dataset": (f"{OURS}.datasets.hub",),
    "evalscope.api.dataset.hub": (f"{OURS}.datasets.hub",),
    "evalscope.constants": (f"{HERE}.constants",),
    "evalscope.perf": (),
    "evalscope.perf.arguments": (f"{OURS}.arguments", f"{HERE}.flags"),
    "evalscope.perf.multi_turn_args": (f"{HERE}.multi_turn_args",),
    "evalscope.perf.plugin": (),
    "evalscope.perf.plugin.registry": (f"{OURS}.registry",),
    "evalscope.perf.plugin.api": (),
    **{f"evalscope.perf.plugin.api.{module}": (f"{OURS}.api.{module}",) for module in _APIS},
    "evalscope.perf.plugin.api.base": (f"{OURS}.api.base", f"{HERE}.body_meta"),
    "evalscope.perf.plugin.api.default_api": (f"{OURS}.api.default_api", f"{HERE}.chat_delta"),
    "evalscope.perf.plugin.datasets": (),
    "evalscope.perf.plugin.datasets.dataset_args": (f"{OURS}.datasets.dataset_args", f"{OURS}.datasets.workload_trace"),
    "evalscope.perf.plugin.datasets.utils": (f"{HERE}.dataset_utils",),
    **{
        f"evalscope.perf.plugin.datasets.{module}": (f"{OURS}.datasets.{module}",)
        for module in _DATASETS
        if module not in ("embedding", "hub_images", "random_vl", "rerank")
    },
    "evalscope.perf.plugin.datasets.workload_trace": (f"{OURS}.datasets.workload_trace", f"{HERE}.body_meta"),
    **{
        f"evalscope.perf.plugin.datasets.{theirs}": tuple(f"{OURS}.datasets.{module}" for module in ours)
        for theirs, ours in _THEIR_DATASETS.items()
    },
    "evalscope.perf.utils": (),
    "evalscope.perf.utils.benchmark_util": (f"{OURS}.benchmark_data", f"{HERE}.benchmark_util"),
    "evalscope.perf.utils.body_meta": (f"{HERE}.body_meta",),
    "evalscope.perf.utils.db_util": (f"{HERE}.db_util",),
    "evalscope.perf.utils.handler": (f"{HERE}.handler",),
    "evalscope.perf.utils.local_server": (f"{HERE}.local_server",),
    "evalscope.perf.utils.perf_constants": (f"{HERE}.perf_constants",),
    "evalscope.utils": (f"{HERE}.utils",),
    "evalscope.utils.argument_utils": (f"{HERE}.utils",),
    "evalscope.utils.io_utils": (f"{HERE}.io_utils",),
    "evalscope.utils.logger": (f"{OURS}.logger",),
    "evalscope.utils.model_utils": (f"{HERE}.utils",),
}
"""EvalScope's module: ours whose names it has, the later ones first; none for a package that only holds others."""
