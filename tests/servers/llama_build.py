#!/usr/bin/env python3
"""Build llama.cpp's server once, and keep it: llama_build.py [--threads N] prints its path.

The source distribution of llama-cpp-python on the package index holds all of llama.cpp, its server included, so that
nothing but a C++ compiler is needed beside that index. It takes about twelve minutes of CPU time and 1 GB of disk meanwhile;
what is kept is one program of 10 MB in the user's cache folder. Whoever comes while another builds waits for it.
"""

import argparse
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TextIO

VERSION = "0.3.36"
"""Of llama-cpp-python, which pins llama.cpp."""
CMAKE = "cmake==4.1.*"
OPTIONS = {
    "CMAKE_BUILD_TYPE": "Release",
    "BUILD_SHARED_LIBS": "OFF",
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_BUILD_EXAMPLES": "OFF",
    "LLAMA_BUILD_TOOLS": "ON",
    "LLAMA_BUILD_SERVER": "ON",
    "LLAMA_BUILD_APP": "OFF",
    "LLAMA_BUILD_UI": "OFF",
    "LLAMA_USE_PREBUILT_UI": "OFF",
    "LLAMA_OPENSSL": "OFF",
    "GGML_NATIVE": "OFF",
    "GGML_OPENMP": "OFF",
    "GGML_CCACHE": "OFF",
    "CMAKE_CXX_FLAGS_RELEASE": "-O1 -DNDEBUG",  # most of the time is the compiler's; the kernels are C
    "CMAKE_C_FLAGS_RELEASE": "-O2 -DNDEBUG",
}
DOWNLOAD = ("-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps", "--no-binary", ":all:")
RECIPE = hashlib.sha256(repr((VERSION, sorted(OPTIONS.items()))).encode()).hexdigest()[:8]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "perfbench-servers"
PROGRAM = CACHE / f"{VERSION}-{RECIPE}" / "llama-server"
LOCK, LOG = CACHE / "lock", CACHE / "build.log"


class BuildError(Exception):
    """It cannot be built here."""


def missing() -> str:
    """What this machine lacks to build it; empty if nothing."""
    if PROGRAM.exists():
        return ""
    return "" if shutil.which("c++") or shutil.which("g++") else "a C++ compiler (Debian: apt-get install g++)"


def build(threads: int = 2) -> Path:
    """Build it unless it is there, or wait for whoever builds it; raises BuildError."""
    if PROGRAM.exists():
        return PROGRAM
    if reason := missing():
        raise BuildError(f"llama-server needs {reason}")
    CACHE.mkdir(parents=True, exist_ok=True)
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not PROGRAM.exists():
            with tempfile.TemporaryDirectory(dir=CACHE) as folder, LOG.open("w") as log:
                _build(Path(folder), threads, log)
    return PROGRAM


def _build(folder: Path, threads: int, log: TextIO) -> None:
    def run(*command: str | Path) -> None:
        done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False)
        if done.returncode:
            raise BuildError(f"building llama-server failed: {command[0]} says in {LOG}:\n{LOG.read_text()[-2000:]}")

    began_s = time.monotonic()
    print(f"building llama-server of llama-cpp-python {VERSION}, once; see {LOG} …", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    python, cmake = folder / "venv" / "bin" / "python", folder / "venv" / "bin" / "cmake"
    run(python, "-m", "pip", "install", "-q", "--disable-pip-version-check", CMAKE)
    # Only fetched and unpacked: to install it would be to build all of it.
    run(python, *DOWNLOAD, "-d", folder, f"llama-cpp-python=={VERSION}")
    (archive,) = folder.glob("llama_cpp_python-*.tar.gz")
    run("tar", "-xzf", archive, "-C", folder)
    source = folder / f"llama_cpp_python-{VERSION}" / "vendor" / "llama.cpp"
    out = folder / "build"
    run(cmake, "-S", source, "-B", out, *(f"-D{name}={value}" for name, value in OPTIONS.items()))
    run(cmake, "--build", out, "--target", "llama-server", "-j", str(threads))
    PROGRAM.parent.mkdir(parents=True, exist_ok=True)
    new = PROGRAM.with_suffix(".new")
    if shutil.which("strip"):
        run("strip", "-o", new, out / "bin" / "llama-server")
    else:
        shutil.copy(out / "bin" / "llama-server", new)
    new.rename(PROGRAM)
    print(f"built in {time.monotonic() - began_s:.0f} s: {PROGRAM}", file=sys.stderr)


def main() -> int:
    """Build it and print where it is."""
    os.setpgid(0, 0)  # who ends this program ends the compiler, too
    signal.signal(signal.SIGTERM, lambda *_: os.killpg(0, signal.SIGKILL))
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=2, help="of the compiler")
    try:
        print(build(parser.parse_args().threads))
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
