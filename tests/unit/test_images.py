"""What is in the images, as far as it can be told without building them; tests/cluster runs them."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXTRAS = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
HUBS = {"huggingface", "modelscope"}
DOCKERFILE = (ROOT / "images" / "Dockerfile").read_text()


def test_the_runner_s_image_serves_every_field_that_asks_no_hub() -> None:
    (installed,) = re.findall(r"install\.py dependencies (runner.*)", DOCKERFILE)
    assert set(installed.split()) == EXTRAS - HUBS - {"operator", "dev"}
