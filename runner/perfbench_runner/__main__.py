"""`python -m perfbench_runner`, which is the command `perfbench`; of a FILE.py, a program that may import evalscope's names."""

import runpy
import sys
from pathlib import Path


def main() -> None:
    """Run the command, or a program: `perfbench FILE.py ARGUMENTS`."""
    arguments = sys.argv[1:]
    if arguments and arguments[0].endswith(".py"):
        run_program(*arguments)
    else:
        from perfbench_runner.cli.commands import main as command

        command(prog_name="perfbench")


def run_program(file: str, *arguments: str) -> None:
    """Run a Python file as `python FILE` does, its imports from `evalscope` finding ours; mistakes are one line each."""
    import perfbench_plugins  # noqa: F401  # lets those imports find ours
    from perfbench_runner.cli.commands import BAD_INPUT

    if not Path(file).is_file():
        sys.exit(f"error: there is no file {file}")
    sys.argv = [file, *arguments]
    sys.path.insert(0, str(Path(file).resolve().parent))
    try:
        runpy.run_path(file, run_name="__main__")
    except BAD_INPUT as error:
        from perfbench_api.redaction import KNOWN, without_keys

        lines = without_keys(KNOWN.text(str(error))).splitlines()
        print(*(f"error: {line}" for line in lines), sep="\n", file=sys.stderr)  # noqa: T201
        sys.exit(2)


if __name__ == "__main__":
    main()
