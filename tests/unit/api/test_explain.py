"""`perfbench explain`: every field has a meaning, and an unknown one is answered with what there is."""

import pytest

from perfbench_api.explain import explain
from perfbench_api.resource import Spec, SpecError, field_names, section_of


@pytest.mark.parametrize(
    ("field", "parts"),
    [
        ("spec.load.stages.rate", ("rate <number, requests/s>", "Open loop")),
        ("load.stages[].duration", ("duration <duration>",)),
        ("spec.target.connectTimeout", ("<duration> = 10s",)),
        ("spec.results.messages", ("all | failed | none", "= all")),
        ("spec", ("target", "dataset", "load", "objectives")),
        ("spec.target.mock", ("ttft <duration> = 50ms",)),
    ],
)
def test_it_prints_type_default_and_meaning(field: str, parts: tuple[str, ...]) -> None:
    text = explain(field)
    for part in parts:
        assert part in text


@pytest.mark.parametrize("field", ["spec.lod", "nothing", "spec.load.stages.rat", "spec.target.url.x"])
def test_an_unknown_field_is_answered_with_those_there_are(field: str) -> None:
    with pytest.raises(SpecError, match="no such field"):
        explain(field)


def test_every_field_has_a_meaning() -> None:
    def check(loc: tuple[str, ...]) -> None:
        for name, field in field_names(Spec, loc).items():
            assert field.description, (*loc, name)
            assert explain(".".join(("spec", *loc, name)))
            if section_of(field.annotation):
                check((*loc, name))

    check(())
