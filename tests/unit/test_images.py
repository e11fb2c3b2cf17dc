"""What is in the images, as far as it can be told without building them; tests/cluster runs them."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

NAMES = ("runner", "operator")
ROOT = Path(__file__).resolve().parents[2]
EXTRAS = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
HUBS = {"huggingface", "modelscope"}
DOCKERFILE = (ROOT / "images" / "Dockerfile").read_text()


def test_the_runner_s_image_serves_every_field_that_asks_no_hub() -> None:
    (installed,) = re.findall(r"install\.py dependencies (runner.*)", DOCKERFILE)
    assert set(installed.split()) == EXTRAS - HUBS - {"operator", "dev"}


# scripts/images and make images, with programs that only say how they were called


def run_images(
    folder: Path, *arguments: str, programs: tuple[str, ...] = ("docker",), broken: tuple[str, ...] = ()
) -> Any:
    calls = folder / "calls"
    for program in (*programs, *broken):
        file = folder / program
        status = 1 if program in broken else 0
        file.write_text(f'#!/bin/sh\necho "{program} $*" >> {calls}\nexit {status}\n')
        file.chmod(0o755)
    for tool in ("sh", "sed", "dirname", "echo"):
        if not (folder / tool).exists():
            (folder / tool).symlink_to(shutil.which(tool) or "")
    done = subprocess.run(
        [ROOT / "scripts" / "images", *arguments],
        env={"PATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    lines = calls.read_text().splitlines() if calls.exists() else []
    return done, [line for line in lines if not line.endswith(" info")]


def test_images_are_built_under_the_names_that_the_chart_uses(tmp_path: Path) -> None:
    done, calls = run_images(tmp_path)
    assert done.stdout.split() == ["perfbench-runner:0.1.0", "perfbench-operator:0.1.0"], done.stderr
    assert calls == [
        f"docker build --file images/Dockerfile --target {name} --tag perfbench-{name}:0.1.0 ." for name in NAMES
    ]


def test_images_are_pushed_under_the_registry_s_names(tmp_path: Path) -> None:
    done, calls = run_images(tmp_path, "push", "registry.example/team", programs=("podman",), broken=("docker",))
    assert done.stdout.split() == [f"registry.example/team/perfbench-{name}:0.1.0" for name in NAMES], done.stderr
    assert calls[1::2] == [f"podman push registry.example/team/perfbench-{name}:0.1.0" for name in NAMES]


@pytest.mark.parametrize(
    ("cluster", "program", "call"),
    [("kind", "kind", "kind load docker-image {}"), ("minikube", "minikube", "minikube image load {}")],
)
def test_images_are_loaded_into_a_cluster_without_a_registry(
    tmp_path: Path, cluster: str, program: str, call: str
) -> None:
    _, calls = run_images(tmp_path, "load", cluster, programs=("docker", program))
    assert calls[1::2] == [call.format(f"perfbench-{name}:0.1.0") for name in NAMES]


@pytest.mark.parametrize("arguments", [("push",), ("load",), ("load", "minishift"), ("bake",), ("build", "x")])
def test_a_wrong_call_says_how(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done, calls = run_images(tmp_path, *arguments)
    assert (done.returncode, calls) == (2, [])
    assert "scripts/images load kind" in done.stderr


def test_a_machine_that_cannot_build_says_what_it_needs(tmp_path: Path) -> None:
    done, _ = run_images(tmp_path, programs=(), broken=("docker",))
    assert done.returncode == 2
    assert "docker (with its daemon), podman or buildah" in done.stderr


@pytest.mark.parametrize(
    ("settings", "command"),
    [
        ((), "scripts/images"),
        (("LOAD=kind",), "scripts/images load kind"),
        (("PUSH=registry.example/team",), "scripts/images push registry.example/team"),
    ],
)
def test_make_images_does_something(settings: tuple[str, ...], command: str) -> None:
    make = ["make", "--no-print-directory", "-n", "images", *settings]
    within = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}  # `make test` runs this
    done = subprocess.run(make, cwd=ROOT, env=within, capture_output=True, text=True, check=True)
    assert done.stdout.split() == command.split()
