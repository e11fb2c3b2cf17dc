"""The command `perfbench`: the names of its commands, each of which is loaded when somebody asks for it."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, ClassVar

import click


class Commands(Mapping[str, click.Command]):
    """The commands by name; one is loaded when it is looked up: most of a start is loading."""

    PLACES: ClassVar = {
        "calibrate": "calibrate_command:calibrate",
        "explain": "explain_command:explain",
        "ls": "past_runs:list_command",
        "mock": "mock_command:mock",
        "plan": "plan_command:plan_command",
        "plugins": "plugins:plugins",
        "recover": "recover_command:recover",
        "run": "run_command:run",
        "show": "past_runs:show_command",
    }
    """Module and name of each, beside this module."""

    def __getitem__(self, name: str) -> click.Command:
        module, _, attribute = self.PLACES[name].partition(":")
        found: click.Command = getattr(import_module(f"{__package__}.{module}"), attribute)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self.PLACES)

    def __len__(self) -> int:
        return len(self.PLACES)


class Group(click.Group):
    """Turns mistakes in the input into one line each and exit code 2; everything else is a bug and keeps its traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit):
            raise  # there is nothing to load to tell what these are
        except Exception as error:
            from perfbench_api.redaction import KNOWN, without_keys
            from perfbench_runner.cli.mistakes import BAD_INPUT

            if not isinstance(error, BAD_INPUT):
                raise
            for line in str(error).splitlines():
                click.secho(f"error: {without_keys(KNOWN.text(line))}", fg="red", err=True)
            ctx.exit(2)


@click.group(
    cls=Group,
    commands=Commands(),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(package_name="perfbench-operator", prog_name="perfbench")
def main() -> None:
    """Measure LLM inference endpoints: exact, small, honest about its own error."""
