"""Fill the image's virtualenv, in two steps so that a change of code does not install every dependency again.

    install.py dependencies EXTRA…   what pyproject.toml in this folder asks for, base and extras
    install.py project               the project in this folder, without dependencies

Bytecode is made here and is never checked against its source: the image's root may be read-only, and pods start faster.
"""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

PIP = Path(__file__).parent / "pip/bin/pip"
VIRTUALENV = Path("/opt/perfbench")
UNUSED = (
    *("pyarrow/include", "pyarrow/includes", "pyarrow/src", "pyarrow/*.p[xy][xid]"),
    *("pyarrow/_flight*", "pyarrow/libarrow_flight*", "pyarrow/libarrow_python_flight*"),
    *("pyarrow/_s3fs*", "pyarrow/libarrow_s3*", "pyarrow/libarrow_python.so", "pyarrow/libarrow_python.so.*.*"),
    *("pyarrow/tests", "numpy/tests", "numpy/*/tests"),
)
"""Parts of packages that no runner loads, 90 MB: pyarrow is here to read Parquet and Arrow files, and nothing else."""


def requirements(extras: list[str]) -> list[str]:
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    chosen = [requirement for extra in extras for requirement in project["optional-dependencies"][extra]]
    return [*project["dependencies"], *chosen]


def remove_unused() -> None:
    (packages,) = VIRTUALENV.glob("lib/python3*/site-packages")
    for part in (part for pattern in UNUSED for part in packages.glob(pattern)):
        shutil.rmtree(part) if part.is_dir() else part.unlink()


def install(*arguments: str) -> None:
    python = f"{VIRTUALENV}/bin/python"
    run(str(PIP), "--python", python, "install", "--quiet", "--no-compile", *arguments)
    remove_unused()
    run(python, "-m", "compileall", "-q", "-j", "0", "--invalidation-mode", "unchecked-hash", f"{VIRTUALENV}/lib")


def run(*command: str) -> None:
    status = subprocess.run(command, check=False).returncode  # noqa: S603 - the Dockerfile's words
    if status:
        sys.exit(status)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["dependencies", *extras] if extras:
            install(*requirements(extras))
        case ["project"]:
            install("--no-deps", ".")
        case _:
            sys.exit(__doc__)
