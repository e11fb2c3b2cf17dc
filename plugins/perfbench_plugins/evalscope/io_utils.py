"""`evalscope.utils.io_utils`: files and images, as plugins read and write them."""

import base64
import csv
import hashlib
import json
import re
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import yaml

from perfbench_plugins.images import split_data_url


def current_time() -> datetime:
    """Now, in the system's own time."""
    return datetime.now()


def jsonl_to_list(jsonl_file: str, skip_invalid: bool = False) -> list[dict[str, Any]]:
    """The objects of a JSONL file; lines that are none raise ValueError or TypeError, or are left out."""
    found = []
    with Path(jsonl_file).open(encoding="utf-8-sig") as file:
        for line in file:
            try:
                value = json.loads(line) if line.strip() else None
                if value is not None and not isinstance(value, dict):
                    raise TypeError(f"expected a JSON object, got {type(value).__name__}")
            except (ValueError, TypeError):
                if not skip_invalid:
                    raise
                continue
            if value is not None:
                found.append(value)
    return found


def dump_jsonl_data(data_list: Any, jsonl_file: str, dump_mode: str = "overwrite") -> None:
    """Write objects as JSON lines, or append them (`append`)."""
    items = data_list if isinstance(data_list, list) else [data_list]
    Path(jsonl_file).parent.mkdir(parents=True, exist_ok=True)
    with Path(jsonl_file).open("a" if str(dump_mode).endswith("append") else "w", encoding="utf-8") as file:
        file.writelines(json.dumps(item, ensure_ascii=False) + "\n" for item in items)


def json_to_dict(json_file: str) -> Any:
    """What a JSON file holds."""
    return json.loads(Path(json_file).read_text(encoding="utf-8"))


def dict_to_json(data: Any, json_file: str) -> None:
    """Write JSON."""
    Path(json_file).write_text(json.dumps(data, indent=4, ensure_ascii=False), encoding="utf-8")


def yaml_to_dict(yaml_file: str) -> Any:
    """What a YAML file holds."""
    return yaml.safe_load(Path(yaml_file).read_text(encoding="utf-8"))


def dict_to_yaml(data: Any, yaml_file: str) -> None:
    """Write YAML."""
    Path(yaml_file).write_text(yaml.safe_dump(data, allow_unicode=True, sort_keys=False), encoding="utf-8")


def csv_to_list(csv_file: str) -> list[dict[str, Any]]:
    """The rows of a CSV file."""
    with Path(csv_file).open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def gen_hash(name: str, bits: int = 32) -> str:
    """The start of a text's MD5, as a name for it."""
    return hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()[:bits]


def safe_filename(s: str, max_length: int = 255) -> str:
    """A text as the name of a file."""
    return re.sub(r"[^\w.\-]+", "_", s).strip("._")[:max_length] or "_"


def PIL_to_base64(image: Any, format: str = "JPEG", add_header: bool = False) -> str:  # noqa: A002, N802  # their names
    """An image of Pillow as base64, or as a data URL."""
    buffer = BytesIO()
    image.save(buffer, format=format)
    text = base64.b64encode(buffer.getvalue()).decode()
    return f"data:image/{format.lower()};base64,{text}" if add_header else text


def base64_to_PIL(base64_str: str) -> Any:  # noqa: N802  # their name
    """An image of Pillow from base64 or a data URL; needs Pillow."""
    from PIL import Image

    data = split_data_url(base64_str)
    return Image.open(BytesIO(base64.b64decode(data[1] if data else base64_str)))
