"""The benchmark that somebody has described: by a manifest, or by flags."""

from pathlib import Path
from typing import Any

from perfbench_api.resource import PerfBenchmark, SpecError
from perfbench_plugins.arguments import Arguments
from perfbench_runner.cli import manifest
from perfbench_runner.cli.flags import arguments_of
from perfbench_runner.run import secrets
from perfbench_runner.run.prepare import benchmark_of


def benchmark_given(
    file: Path | None, overrides: tuple[str, ...], flags: dict[str, Any]
) -> tuple[PerfBenchmark, str | None, dict[str, str], Arguments | None]:
    """The validated object that both ways lead to, and the credentials that it must not hold."""
    if file is not None:
        seed, debug = flags.pop("seed", None), flags.pop("debug", None)
        if flags:
            raise SpecError([_both(file, flags)])
        del debug
        return manifest.load(file, overrides, seed), None, {}, None
    if not flags:
        raise SpecError(["nothing to run; give a manifest FILE, or --url and --model (see perfbench run --help)"])
    arguments = arguments_of(flags)
    # EvalScope's default URL is for its programs: nobody who forgets --url means that address.
    is_usual = "url" not in flags and not flags.get("api", "").startswith("local")
    data = benchmark_of(arguments)
    for override in overrides:
        manifest.assign(data, override)
    if is_usual and not data["spec"]["targets"]:
        raise SpecError(["--url: missing; give url, the address of the endpoint (perfbench mock serves one to try)"])
    if is_usual:
        data["spec"]["target"].pop("url", None)
    return PerfBenchmark.read(data), *secrets.of_arguments(arguments), arguments


def _both(file: Path, flags: dict[str, Any]) -> str:
    """What is wrong with a FILE beside flags: most often it is no file, but a second value of a flag that takes one."""
    names = ", ".join(f"--{name.replace('_', '-')}" for name in flags)
    if file.suffix in (".yaml", ".yml", ".json") or file.is_file():
        return f"{file}: a manifest goes without {names}; use --set to change its fields"
    return f"{file}: is taken for a manifest FILE, which goes without {names}; does it belong to a flag, which takes one value?"
