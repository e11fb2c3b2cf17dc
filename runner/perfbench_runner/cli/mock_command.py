"""`perfbench mock`: its options are made from the mock's settings."""

import os
from typing import TYPE_CHECKING, Any

import click

from perfbench_api.resource import SpecError
from perfbench_api.values import format_duration, parse_duration

if TYPE_CHECKING:
    from perfbench_runner.mock.settings import SettingField


@click.command(short_help="Serve a mock endpoint.")
def mock(**settings: Any) -> None:
    """Serve a mock of the OpenAI API with settable latencies and failures, until interrupted."""
    from perfbench_runner.mock.serve import serve
    from perfbench_runner.mock.settings import MockSettings

    try:
        serve(MockSettings.from_dict({name: value for name, value in settings.items() if value is not None}))
    except ValueError as error:
        raise SpecError([str(error)]) from None
    except OSError as error:
        raise SpecError([unheard(error, settings["host"], settings["port"])]) from None


def unheard(error: OSError, host: str | None, port: int | None) -> str:
    """Why it cannot listen, and the way out."""
    number = error.errno or 0
    reason = os.strerror(number) if number > 0 else error.strerror or str(error)  # a look-up's numbers are its own
    where = f"{host or 'its address'}{f', port {port}' if port else ''}"
    return f"mock: cannot listen on {where}: {reason}; give --host an address of this machine, and --port a free one"


class DurationType(click.ParamType[float]):
    """A duration such as 50ms, or a plain number of seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds."""
        try:
            return float(parse_duration(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _mock_options() -> list[click.Option]:
    from perfbench_runner.mock.settings import FIELDS

    return [_mock_option(field) for field in FIELDS]


def _mock_option(field: "SettingField") -> click.Option:
    kind: Any = click.Choice(field.choices) if field.choices else field.kind
    unit = f" ({field.unit})" if field.unit else ""
    default = "" if field.optional else f"; default {field.default}"
    is_flag = field.kind is bool
    is_time = field.unit == "s"
    if is_time:
        kind, unit, default = DurationType(), "", f"; default {format_duration(field.default)}"
    flag, text = f"--{field.name.replace('_', '-')}", f"{field.help}{unit}{default}"
    names = [flag.removesuffix("-s"), flag] if is_time else [flag]  # `--ttft-s`, in seconds, is older
    return click.Option([*names, field.name], type=None if is_flag else kind, is_flag=is_flag, default=None, help=text)


mock.params.extend(_mock_options())
