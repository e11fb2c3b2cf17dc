"""The text under a field is its description: in JSON schema, in `explain`, in `--help`; and nothing is parsed before."""

import subprocess
import sys

from pydantic import Field, create_model

from perfbench_api.described import Described, MeansAs, described


class Base(Described):
    size: int = 1
    """How large."""
    name: str = ""
    """What it is called,
    on two lines."""


class Derived(Base):
    name: str = Field("", alias="label")
    other: int = Field(0, description="Said so.")
    """Not this."""
    bare: int = 0

    class Inner(Described):
        depth: int = 0
        """How deep."""

    inner: Inner = Inner()


def borrowing() -> type[Described]:
    class Borrower(Described):
        """Within a function."""

        length: int = 0

    Borrower.model_fields["length"].metadata.append(MeansAs(Base, "size"))
    return Borrower


def texts(model: type[Described]) -> dict[str, str | None]:
    return {name: field.description for name, field in described(model).items()}


def test_the_text_under_a_field_is_its_description() -> None:
    assert texts(Base) == {"size": "How large.", "name": "What it is called,\non two lines."}


def test_what_is_inherited_said_otherwise_or_missing() -> None:
    assert texts(Derived) == {
        "size": "How large.",
        "name": "What it is called,\non two lines.",
        "other": "Said so.",
        "bare": None,
        "inner": None,
    }
    assert texts(Derived.Inner) == {"depth": "How deep."}


def test_a_field_can_mean_what_another_one_means() -> None:
    assert texts(borrowing()) == {"length": "How large."}


def test_a_model_without_source_has_no_descriptions() -> None:
    assert texts(create_model("Made", __base__=Described, size=(int, 1))) == {"size": None}


def test_the_json_schema_has_them_by_alias_and_nested() -> None:
    schema = Derived.model_json_schema()
    assert schema["properties"]["label"]["description"].startswith("What it is called")
    assert schema["properties"]["other"]["description"] == "Said so."
    assert schema["$defs"]["Inner"]["properties"]["depth"]["description"] == "How deep."


def test_starting_parses_no_source() -> None:
    program = (
        "import ast, inspect; ast.parse = inspect.getsource = None\nimport perfbench_runner.cli.run_command\n"
        "from perfbench_api.resource import PerfBenchmark\n"
        "PerfBenchmark.read({'metadata': {'name': 'a'}, 'spec': {'target': {'mock': {}}}})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
