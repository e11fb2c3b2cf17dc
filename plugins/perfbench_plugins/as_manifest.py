"""The manifest that flat arguments stand for: of `--parallel 1 8 --number 100` two stages, and all else where it belongs."""

from pathlib import Path
from typing import Any

from perfbench_api.resource import PerfBenchmark, SpecError
from perfbench_api.sections import Endpoint, Goodput, Prompts, Request, Warmup
from perfbench_api.values import Section, format_duration
from perfbench_plugins.as_evalscope import AsEvalScope, several
from perfbench_plugins.objectives import read_goodput, read_objective, read_until
from perfbench_plugins.searches import RANGES, search_of


class AsManifest(AsEvalScope):
    """Part of Arguments that makes a manifest of its fields."""

    def to_benchmark(self) -> PerfBenchmark:
        """The same benchmark as a manifest; the API key stays out of it. Raises SpecError."""
        target = fields_of(self, Endpoint) | {
            "headers": [{"name": name, "value": value} for name, value in self.headers.items()],
            "connectionTest": not self.no_test_connection,
            "keepAlive": self.keep_alive,
            "tls": {
                "insecureSkipVerify": self.insecure,
                "ca": {"file": self.ca_file} if self.ca_file else None,
                "certFile": self.cert_file,
                "keyFile": self.key_file,
            },
            "waitFor": None if self.wait_for is None else format_duration(self.wait_for),
        }
        chat = self.apply_chat_template if "apply_chat_template" in self.model_fields_set else None
        dataset = fields_of(self, Prompts) | {
            "apply_chat_template": chat,
            "name": self.dataset,
            "path": self.dataset_path,
            "args": self.dataset_args,
            "offset": self.dataset_offset,
            "source": self.data_source,
            "unique": self.unique,
            "measureCache": self.measure_cache,
        }
        search = search_of({name: getattr(self, name) for name in self.model_fields_set})
        load = {
            **({"stages": self.stages()} if search is None else {"search": search}),
            "warmup": {"requests": self.warmup_count},
            "repeat": self.repeat,
            "pause": format_duration(self.sleep_interval),
            "gracePeriod": format_duration(self.grace_period),
            "retry": {"times": self.retry} if self.retry else None,
            "maxFailedShare": self.max_failed_share,
            "randomSeed": self.random_seed,
        }
        spec = {
            "target": target,
            "dataset": dataset,
            "request": fields_of(self, Request) | {"query_template": self._template()},
            "load": load,
            "goodput": read_goodput(self.goodput),
            "objectives": [read_objective(text) for text in self.objectives],
            "results": {"messages": self.messages},
            "runner": {"workers": self.workers},
        }
        data = {"metadata": {"name": resource_name(self.name or self.model_id)}, "spec": _camel(spec)}
        return PerfBenchmark.read(data)

    def _template(self) -> str | None:
        """The body's template, itself in place of its file: the manifest may be run elsewhere. Raises SpecError."""
        given: str | None = self.query_template
        if not given or not given.startswith("@"):
            return given
        try:
            return Path(given[1:]).read_text(encoding="utf-8")
        except OSError as error:
            raise SpecError([f"query_template: cannot read {given[1:]!r}: {error.strerror}"]) from None

    @property
    def plays_recorded_times(self) -> bool:
        """An open loop without a rate: the dataset says when to send."""
        return self.open_loop and all(rate <= 0 for rate in several(self.rate)) and len(several(self.rate)) == 1

    @property
    def asks_for_load(self) -> bool:
        """Whether any load was asked for; else a dataset with recorded times plays them."""
        return bool(self.model_fields_set & {"number", "parallel", "rate", "open_loop", "duration", "profile", *RANGES})

    def stages(self) -> list[dict[str, Any]]:
        """The load levels that number, parallel, rate and open_loop stand for; raises SpecError for what would be ignored."""
        problems = self._ignored()
        if problems:
            raise SpecError(problems)
        rates, parallels, numbers = several(self.rate), several(self.parallel), several(self.number)
        loads = rates if self.open_loop else parallels
        numbers = numbers * len(loads) if len(numbers) == 1 else numbers
        stages = [self._stage(load, number) for load, number in zip(loads, numbers, strict=True)]
        return _told_apart(stages)

    def _ignored(self) -> list[str]:
        """What was asked for and would make no difference."""
        rates, found = several(self.rate), []
        if self.profile is not None:
            others = sorted(self.model_fields_set & {"parallel", "rate", "open_loop"})
            return [f"{name}: profile says when requests are sent; leave out one of both" for name in others]
        if any(rate <= 0 and rate != -1 for rate in rates):
            found.append(f"rate: {min(rates):g} starts nothing; give more than 0, or -1 for as fast as parallel allows")
        if len(rates) > 1 and not self.open_loop:
            found.append(f"rate: {len(rates)} values make stages with open_loop alone; give one, or open_loop")
        if self.cv is not None and not self.open_loop and rates[0] <= 0:
            found.append("cv: belongs to rate, profile or open_loop; parallel alone is a closed loop")
        if "arrival" in self.model_fields_set and not self.open_loop and rates[0] <= 0:
            found.append(f"arrival: {self.arrival} belongs to rate, or to open_loop; parallel alone is a closed loop")
        return found

    def _stage(self, load: float, number: int) -> dict[str, Any]:
        end: dict[str, Any] = {"requests": number}
        gaps: dict[str, Any] = {"arrival": self.arrival} | ({} if self.cv is None else {"cv": self.cv})
        if "number" not in self.model_fields_set and (self.plays_recorded_times or self.duration is not None):
            end = {}  # the schedule, or the duration, is the end; a default number must not come before it
        if self.duration is not None:
            end["duration"] = format_duration(self.duration)
        if self.until is not None:
            end["until"] = read_until(self.until)
        rate = several(self.rate)[0]
        if self.profile is not None:
            return {"profile": self.profile, **gaps, **end}
        if self.plays_recorded_times:
            return {"arrival": "recorded", **end}
        if self.open_loop:
            return {"rate": load, **gaps, **end}
        if rate > 0:
            return {"rate": rate, **gaps, "maxConcurrency": load, **end}
        return {"concurrency": load, **end}


def _told_apart(stages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Stages of the same load get names, so that `--parallel 8 8` has two that can be told apart."""
    loads = [(stage.get("rate"), stage.get("concurrency")) for stage in stages]
    if len(set(loads)) == len(loads):
        return stages
    return [{"name": f"{index + 1}", **stage} for index, stage in enumerate(stages)]


def fields_of(values: Section, section: type[Section]) -> dict[str, Any]:
    """The values of one section's fields."""
    return {name: getattr(values, name) for name in section.model_fields}


def _camel(data: Any) -> Any:
    """snake_case keys of the sections as the manifest has them."""
    aliases = {
        name: field.alias
        for section in (Endpoint, Prompts, Request, Warmup, Goodput)
        for name, field in section.model_fields.items()
    }
    if isinstance(data, dict):
        free = ("args", "apiArgs", "extraArgs")
        renamed = {aliases.get(key) or key: value for key, value in data.items()}
        return {key: value if key in free else _camel(value) for key, value in renamed.items()}
    return [_camel(item) for item in data] if isinstance(data, list) else data


def resource_name(text: str) -> str:
    """A Kubernetes name made of any text: Qwen/Qwen3-8B_x -> qwen-qwen3-8b-x."""
    plain = "".join(c if c.isascii() and c.isalnum() else "-" for c in text.lower())
    return "-".join(part for part in plain.split("-") if part)[:52].strip("-") or "benchmark"
