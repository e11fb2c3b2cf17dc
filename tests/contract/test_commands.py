"""Every documented command of EvalScope's that needs no hub, no model of its own and no service runs here, or is refused
with the way out."""

import json
import shlex
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from tests.contract.cases import FILES
from tests.contract.commands import MORE_FILES, REFUSED, RUN, TRACES
from tests.contract.conftest import HERE

from perfbench_runner.cli.commands import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("commands")
    for name, text in {**FILES, **MORE_FILES}.items():
        (made / name).write_text(text)
    return made


def words(command: str, folder: Path, url: str = "http://127.0.0.1:9") -> list[str]:
    """The command's words with real places in them."""
    return [
        word.replace("URL", url).replace("TOKENIZER", str(HERE / "tokenizer")).replace("FOLDER", str(folder))
        for word in shlex.split(command)
    ]


def dry_run(command: str, folder: Path) -> Result:
    return CliRunner().invoke(main, ["run", "--dry-run", *words(command, folder)])


@pytest.mark.parametrize("name", RUN)
def test_a_documented_command_runs(name: str, folder: Path) -> None:
    result = dry_run(RUN[name], folder)
    assert result.exit_code == 0, result.output
    assert yaml.safe_load(result.stdout)["kind"] == "PerfBenchmark"
    url, _, body = result.stderr.partition("# first request: POST ")[2].partition("\n")
    assert json.loads(body)
    assert url.startswith("http://127.0.0.1:9/v1/")


@pytest.mark.parametrize("name", REFUSED)
def test_a_command_that_would_be_another_run_is_refused_with_the_way_out(name: str, folder: Path) -> None:
    command, way_out = REFUSED[name]
    result = dry_run(command, folder)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert way_out in result.stderr


@pytest.mark.parametrize("name", TRACES)
def test_a_command_whose_dataset_says_when_to_send_needs_no_rate(name: str, folder: Path) -> None:
    assert dry_run(TRACES[name], folder).exit_code == 0
