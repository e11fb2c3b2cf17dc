"""Hugging Face's own client against a hub of our own: what is downloaded, and how it is read."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PROGRAM = """
import json, sys
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.registry import DatasetRegistry
from perfbench_plugins.tokens import load_tokenizer
for name, options in json.loads(sys.argv[1]):
    arguments = Arguments(dataset=name, model="m", url="http://h/v1/completions", data_source="huggingface", **options)
    print(json.dumps(list(DatasetRegistry.get_class(name)(arguments))))
print(load_tokenizer("me/model").chat_overhead)
"""


class Hub(BaseHTTPRequestHandler):
    """The parts of Hugging Face's API that its client asks for to download a repository's files."""

    files: ClassVar[dict[str, bytes]] = {}
    asked: ClassVar[list[str]] = []

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        path = self.path.partition("?")[0]
        self.asked.append(path)
        data = self._data(path)
        self.send_response(404 if data is None else 200)
        if data is not None:
            self.send_header("ETag", f'"{hashlib.sha1(data).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(data or b"")))
        self.end_headers()
        if with_body and data:
            self.wfile.write(data)

    def _data(self, path: str) -> bytes | None:
        if not path.startswith("/api/"):
            return self.files.get(path.replace(f"/resolve/{COMMIT}", "").removeprefix("/"))
        repository = path.removeprefix("/api/").removeprefix("models/").replace("/tree/", "/revision/")
        repository = repository.partition("/revision/")[0]
        files = {name.removeprefix(f"{repository}/"): data for name, data in self.files.items() if repository in name}
        if "/tree/" in path:
            return json.dumps([_entry(name, data) for name, data in files.items()]).encode()
        siblings = [{"rfilename": name} for name in files]
        return json.dumps({"id": repository, "sha": COMMIT, "siblings": siblings}).encode()

    def log_message(self, *arguments: Any) -> None:
        pass


def _entry(name: str, data: bytes) -> dict[str, Any]:
    return {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}


@pytest.fixture
def hub(tokenizer_folder: Path) -> Iterator[str]:
    questions = json.dumps({"question": "why"}).encode()
    Hub.files = {
        "datasets/Hello-SimpleAI/HC3-Chinese/open_qa.jsonl": questions,
        "datasets/Hello-SimpleAI/HC3-Chinese/all.jsonl": questions,
        "datasets/me/mine/data/train-00000-of-00001.jsonl": b'{"text": "a"}\n{"text": "b"}\n',
        "datasets/me/mine/data/test-00000-of-00001.jsonl": b'{"text": "c"}\n',
        "me/model/model.safetensors": b"large",
    } | {f"me/model/{file.name}": file.read_bytes() for file in tokenizer_folder.iterdir()}
    Hub.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join(5)


def test_files_come_from_the_hub_and_no_more_than_needed(hub: str, tmp_path: Path) -> None:
    """In a process of its own: the client reads the hub's address when it is imported."""
    runs = [("openqa", {}), ("file", {"dataset_args": {"hub": "me/mine", "split": "train"}})]
    environment = {**os.environ, "HF_ENDPOINT": hub, "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1"}
    environment = {name: value for name, value in environment.items() if "proxy" not in name.lower()}
    command = [sys.executable, "-c", PROGRAM, json.dumps(runs)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    questions, texts, overhead = done.stdout.splitlines()
    assert json.loads(questions) == ["why"]
    assert json.loads(texts) == ["a", "b"]
    assert int(overhead) > 0
    unneeded = [path for path in Hub.asked if path.endswith(("all.jsonl", "test-00000-of-00001.jsonl", "safetensors"))]
    assert unneeded == []
