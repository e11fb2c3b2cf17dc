"""Any manifest, and any arguments, are understood or refused in lines that name the field."""

from typing import Any

import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from odd_values import JUNK, tries

from perfbench_api.explain import explain
from perfbench_api.resource import PerfBenchmark, Spec, SpecError, section_of
from perfbench_api.values import Section, Unit
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.registry import PluginError
from perfbench_runner.run import secrets
from perfbench_runner.run.prepare import benchmark_of

DURATIONS = st.sampled_from([0, 1, 0.5, "0s", "5ms", "1h30m", "2d", "1e3s", "-5s", "5"])
PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    "duration": DURATIONS,
    "duration or number": st.one_of(DURATIONS, st.sampled_from(["1%", "100%", "-1%", 0.01, -1, 7])),
    "quantity": st.sampled_from(["10Gi", 5, "1.5G", "x", ""]),
}


def field_of(field: Any) -> st.SearchStrategy[Any]:
    """Values that a field may well have, or something else."""
    section = section_of(field.annotation)
    unit = next((item.name for item in field.metadata if isinstance(item, Unit)), "")
    likely = PLAIN.get(unit, st.sampled_from(["a", "b-c", 1, 2, 0.5, True, "http://x/v1", "openqa", "openai"]))
    if section is not None and issubclass(section, Section):
        likely = st.deferred(lambda: section_data(section))
        if "list" in str(field.annotation):
            likely = st.lists(likely, max_size=3)
    if field.default is not None and not field.is_required() and isinstance(field.default, (str, int, float)):
        likely = st.one_of(likely, st.just(field.default))
    return st.one_of(likely, likely, likely, JUNK)


def section_data(section: type[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Data for a section: some of its fields, now and then one that it has not."""
    fields = {field.alias or name: field_of(field) for name, field in section.model_fields.items()}

    @st.composite
    def draw(draw: Any) -> dict[str, Any]:
        names = draw(st.lists(st.sampled_from(sorted(fields)), max_size=4, unique=True))
        data = {name: draw(fields[name]) for name in names}
        if draw(st.integers(0, 12)) == 0:
            data[draw(st.text(max_size=8))] = draw(JUNK)
        return data

    return draw()


SPECS = section_data(Spec).map(lambda spec: {"target": {"url": "http://x/v1", "model": "m"}} | spec)


def checked(problems: list[str]) -> None:
    assert problems
    for problem in problems:
        assert problem.strip()
        assert "\n" not in problem, problem
        assert "pydantic" not in problem, problem


@tries(120)
@given(SPECS)
@example({"target": {"mock": {}}, "dataset": {"args": {"a": float("nan")}}})
def test_a_manifest_is_read_or_refused_field_by_field(spec: dict[str, Any]) -> None:
    try:
        found = PerfBenchmark.read({"metadata": {"name": "a"}, "spec": spec})
    except SpecError as error:
        checked(error.problems)
        return
    again = PerfBenchmark.read(found.dump())
    assert again.dump() == found.dump()
    kept = secrets.manifest(found, has_key=False)
    assert PerfBenchmark.read(yaml.safe_load(yaml.safe_dump(kept, allow_unicode=True))).metadata.name == "a"
    try:
        arguments = Arguments.from_benchmark(found)
    except SpecError as error:
        checked(error.problems)
    else:
        assert arguments.name == "a"


@tries(80)
@given(JUNK)
@example({"[": None})
@example({"int": None, "a\nb": 1})
def test_anything_at_all_in_place_of_a_manifest(data: Any) -> None:
    for whole in (data, {"metadata": data, "spec": data}, {"metadata": {"name": "a"}, "spec": data}):
        try:
            PerfBenchmark.read(whole)
        except SpecError as error:
            checked(error.problems)


NAMES = sorted(set(Arguments.model_fields) - {"outputs_dir"})


@tries(300)
@given(st.dictionaries(st.sampled_from(NAMES), JUNK, max_size=5))
@example({"number": [], "parallel": []})
@example({"rate": [], "open_loop": True})
def test_arguments_are_understood_or_refused(values: dict[str, Any]) -> None:
    try:
        arguments = Arguments(**{"url": "http://x/v1", "model": "m"} | values)
        data = benchmark_of(arguments)
    except (SpecError, PluginError) as error:
        checked(str(error).splitlines())
        return
    try:
        PerfBenchmark.read(data)
    except SpecError as error:
        checked(error.problems)


@tries(100)
@given(st.text(max_size=30))
@example("spec.")
@example("[]")
def test_any_field_is_explained_or_unknown(path: str) -> None:
    try:
        assert explain(path)
    except SpecError as error:
        checked(error.problems)
