"""The ConfigMap with the manifest that the runner reads: Services become URLs, objects become files, pods are left out."""

from collections.abc import Mapping
from pathlib import PurePosixPath

import yaml

from perfbench_api.resource import PerfBenchmark
from perfbench_api.sections import Authority, Dataset, MetricsSource, PluginSource, Runner, ServiceRef, Target
from perfbench_operator.kube import Resource
from perfbench_operator.objects import one_target
from perfbench_operator.objects.identity import Identity
from perfbench_operator.objects.layout import CONFIG, DATA
from perfbench_operator.settings import Settings

WAIT_FOR_S = 300.0
"""How long a runner waits for its target if the benchmark does not say."""
ConfigMapKeys = Mapping[str, tuple[str, ...]]
"""Keys of the ConfigMaps that `referenced_config_maps` names, by ConfigMap. Their contents do not matter."""

OF_THE_RUNNER = ("workers", "replicas", "on_loss", "start_deadline")
"""Fields of `runner` that are the runner's own business; the others are about its pod."""


class ObjectsError(ValueError):
    """The benchmark cannot be run as it is written; the message says why and what to do."""


def referenced_config_maps(benchmark: PerfBenchmark) -> list[str]:
    """ConfigMaps whose keys must be known to build the objects."""
    names = [plugin.config_map.name for plugin in benchmark.spec.plugins if plugin.config_map]
    mounted = (dataset for _, dataset in mounted_datasets(benchmark).values())
    names += [dataset.config_map.name for dataset in mounted if dataset.config_map and dataset.path is None]
    return list(dict.fromkeys(names))


def mounted_datasets(benchmark: PerfBenchmark) -> dict[str, tuple[str, Dataset]]:
    """Datasets that are files of the cluster: where each is mounted, by the name of its volume."""
    own = [
        (f"dataset-{number}", f"{DATA}-{number}", each.dataset) for number, each in enumerate(benchmark.spec.workloads)
    ]
    all_ = [("dataset", DATA, benchmark.spec.dataset), *own]
    return {name: (path, dataset) for name, path, dataset in all_ if dataset and (dataset.config_map or dataset.claim)}


def build_config_map(benchmark: PerfBenchmark, identity: Identity, keys: ConfigMapKeys, settings: Settings) -> Resource:
    """The ConfigMap that carries the manifest."""
    text = yaml.safe_dump(_manifest(benchmark, identity, keys, settings), sort_keys=False, allow_unicode=True)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": identity.metadata(),
        "immutable": True,
        "data": {"manifest.yaml": text},
    }


def _manifest(benchmark: PerfBenchmark, identity: Identity, keys: ConfigMapKeys, settings: Settings) -> Resource:
    resolved = benchmark.model_copy(deep=True)
    spec = resolved.spec
    spec.target = _target(spec.target, identity.namespace)
    for number, one in enumerate(spec.targets):
        spec.targets[number] = found = one_target.resolved(one, number)
        if found.service:
            found.url, found.service = _service_url(found.service, identity.namespace), None
    spec.dataset = _dataset(spec.dataset, "dataset", DATA, keys)
    for number, workload in enumerate(spec.workloads):
        if workload.dataset is not None:
            workload.dataset = _dataset(workload.dataset, f"workloads[{number}].dataset", f"{DATA}-{number}", keys)
    spec.plugins = _plugins(spec.plugins, keys)
    linger_s = settings.runner_linger_s if spec.runner.linger is None else spec.runner.linger
    own = {name: getattr(spec.runner, name) for name in OF_THE_RUNNER}
    spec.runner = Runner(linger=linger_s, **own)
    data = resolved.dump()
    data["metadata"] = {"name": identity.name, "namespace": identity.namespace, "uid": identity.uid}
    return data


def _service_url(service: ServiceRef, namespace: str) -> str:
    """The URL of a Service inside the cluster."""
    path = f"/{service.path.lstrip('/')}" if service.path else ""
    return f"{service.scheme}://{service.name}.{service.namespace or namespace}.svc:{service.port}{path}"


def _target(target: Target, namespace: str) -> Target:
    target = target.model_copy()
    if target.service:
        target.url, target.service = _service_url(target.service, namespace), None
    if target.wait_for is None:
        target.wait_for = WAIT_FOR_S
    if isinstance(target.metrics, list):
        target.metrics = [_metrics_source(source, namespace) for source in target.metrics]
    if target.tls.ca and not target.tls.ca.file:
        target.tls = target.tls.model_copy(update={"ca": Authority(file=f"{CONFIG}/ca/ca.crt")})
    return target


def _metrics_source(source: MetricsSource, namespace: str) -> MetricsSource:
    if not source.service:
        return source
    service = source.service if source.service.path else source.service.model_copy(update={"path": "/metrics"})
    return source.model_copy(update={"url": _service_url(service, namespace), "service": None})


def _dataset(dataset: Dataset, where: str, folder: str, keys: ConfigMapKeys) -> Dataset:
    if dataset.config_map and dataset.claim:
        raise ObjectsError(f"{where}: configMap and claim exclude each other; give one of them")
    if not dataset.config_map and not dataset.claim:
        return dataset
    path = dataset.path or (_only_key(dataset.config_map.name, where, keys) if dataset.config_map else "")
    return dataset.model_copy(
        update={"path": str(PurePosixPath(folder) / path), "config_map": None, "claim": None},
    )


def _only_key(config_map: str, where: str, keys: ConfigMapKeys) -> str:
    found = keys[config_map]
    if len(found) != 1:
        raise ObjectsError(
            f"{where}.path: missing; ConfigMap {config_map} holds {', '.join(found) or 'nothing'}: name one of its keys"
        )
    return found[0]


def _plugins(plugins: list[PluginSource], keys: ConfigMapKeys) -> list[PluginSource]:
    found: list[PluginSource] = []
    for index, plugin in enumerate(plugins):
        found += [plugin] if plugin.config_map is None else _plugin_files(index, plugin.config_map.name, keys)
    return found


def _plugin_files(index: int, config_map: str, keys: ConfigMapKeys) -> list[PluginSource]:
    files = [key for key in keys[config_map] if key.endswith(".py")]
    if not files:
        raise ObjectsError(f"plugins[{index}]: ConfigMap {config_map} has no key that ends with .py")
    return [PluginSource(file=f"{CONFIG}/plugins/{index}/{key}") for key in files]
