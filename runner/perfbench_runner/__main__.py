"""`python -m perfbench_runner`, which is the command `perfbench`; of a FILE.py, a program that may import evalscope's names."""

import sys

from perfbench_runner.early import exit_at_once

exit_at_once()  # before anything else is loaded, which takes a while
if sys.platform == "win32":
    sys.stderr.write("error: perfbench runs on Linux and macOS; on Windows use WSL (wsl --install)\n")
    sys.exit(2)

import gc  # noqa: E402
import runpy  # noqa: E402
from pathlib import Path  # noqa: E402

from perfbench_runner import signals  # noqa: E402

LOADED = 100_000
"""More objects than a command loads. Nothing of that is garbage, and looking for it would take a seventh of the start."""


def main() -> None:
    """Run the command, or a program: `perfbench FILE.py ARGUMENTS`."""
    arguments = sys.argv[1:]
    if arguments and arguments[0].endswith(".py"):
        run_program(*arguments)
    else:
        run_command()


def run_command() -> None:
    """Run the command `perfbench`."""
    gc.set_threshold(LOADED, *gc.get_threshold()[1:])
    from perfbench_runner.cli import streams
    from perfbench_runner.cli.commands import main as command

    signals.raise_interrupted()
    streams.open_what_is_closed()
    try:
        command(prog_name="perfbench")
    except signals.Interrupted as interrupted:
        print(f"stopped by {interrupted.name}", file=sys.stderr)  # noqa: T201
        raise
    except OSError as error:
        if not streams.is_unwritable(error):
            raise
        streams.give_up(error)
        sys.exit(1)
    except SystemExit as end:
        sys.exit(streams.flushed(end.code))


def run_program(file: str, *arguments: str) -> None:
    """Run a Python file as `python FILE` does, its imports from `evalscope` finding ours; mistakes are one line each."""
    import perfbench_plugins  # noqa: F401  # lets those imports find ours
    from perfbench_runner.cli.mistakes import BAD_INPUT

    if not Path(file).is_file():
        sys.exit(f"error: there is no file {file}")
    sys.argv = [file, *arguments]
    sys.path.insert(0, str(Path(file).resolve().parent))
    try:
        signals.as_usual()
        runpy.run_path(file, run_name="__main__")
    except KeyboardInterrupt:
        sys.exit(signals.EXIT_CODE)
    except BAD_INPUT as error:
        from perfbench_api.redaction import KNOWN, without_keys

        lines = without_keys(KNOWN.text(str(error))).splitlines()
        print(*(f"error: {line}" for line in lines), sep="\n", file=sys.stderr)  # noqa: T201
        sys.exit(2)


if __name__ == "__main__":
    main()
