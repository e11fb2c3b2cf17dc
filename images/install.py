"""Fill the image's virtualenv, in two parts so that a change of code does not install every dependency again.

    install.py dependencies EXTRA…   what pyproject.toml in this folder asks for, base and extras, and nothing else
    install.py tools                 an empty virtualenv, and pip beside it
    install.py project ROOT          the project in this folder, without dependencies, into a folder that is to lie over /

Bytecode is made here and is never checked against its source: the image's root may be read-only, and pods start faster.
"""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

TOOLS = "/opt/pip"
PIP = (f"{TOOLS}/bin/pip", "--cache-dir", "/root/.cache/pip")
VIRTUALENV = Path("/opt/perfbench")
PYTHON = f"{VIRTUALENV}/bin/python"
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


def install_dependencies(extras: list[str]) -> None:
    make_tools()
    install(*requirements(extras))
    shutil.rmtree(TOOLS)
    (packages,) = VIRTUALENV.glob("lib/python3*/site-packages")
    for part in (part for pattern in UNUSED for part in packages.glob(pattern)):
        shutil.rmtree(part) if part.is_dir() else part.unlink()
    compile_all(f"{VIRTUALENV}/lib")


def make_tools() -> None:
    run(sys.executable, "-m", "venv", "--without-pip", str(VIRTUALENV))
    run(sys.executable, "-m", "venv", TOOLS)


def install_project(root: str) -> None:
    install("--no-deps", "--root", root, ".")
    compile_all("-s", root, "-p", "/", f"{root}{VIRTUALENV}/lib")


def install(*arguments: str) -> None:
    run(*PIP, "--python", PYTHON, "install", "--quiet", "--no-compile", *arguments)


def compile_all(*arguments: str) -> None:
    run(PYTHON, "-m", "compileall", "-q", "-j", "0", "--invalidation-mode", "unchecked-hash", *arguments)


def run(*command: str) -> None:
    status = subprocess.run(command, check=False).returncode  # noqa: S603 - the Dockerfile's words
    if status:
        sys.exit(status)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["dependencies", *extras] if extras:
            install_dependencies(extras)
        case ["tools"]:
            make_tools()
        case ["project", root]:
            install_project(root)
        case _:
            sys.exit(__doc__)
