"""Fill the image's virtualenv, in two steps so that a change of code does not install every dependency again.

    install.py dependencies EXTRA   what pyproject.toml in this folder asks for, base and extra
    install.py project              the project in this folder, without dependencies

Bytecode is made here and is never checked against its source: the image's root may be read-only, and pods start faster.
"""

import subprocess
import sys
import tomllib
from pathlib import Path

PIP = Path(__file__).parent / "pip/bin/pip"
VIRTUALENV = Path("/opt/perfbench")


def requirements(extra: str) -> list[str]:
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    return [*project["dependencies"], *project["optional-dependencies"][extra]]


def install(*arguments: str) -> None:
    python = f"{VIRTUALENV}/bin/python"
    run(str(PIP), "--python", python, "install", "--quiet", "--no-compile", *arguments)
    run(python, "-m", "compileall", "-q", "-j", "0", "--invalidation-mode", "unchecked-hash", f"{VIRTUALENV}/lib")


def run(*command: str) -> None:
    status = subprocess.run(command, check=False).returncode  # noqa: S603 - the Dockerfile's words
    if status:
        sys.exit(status)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["dependencies", extra]:
            install(*requirements(extra))
        case ["project"]:
            install("--no-deps", ".")
        case _:
            sys.exit(__doc__)
