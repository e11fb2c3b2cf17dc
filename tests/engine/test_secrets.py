"""A planted key is looked for in everything that a run leaves and says, whatever the endpoint does with it."""

import asyncio
import gzip
import json
import re
import sqlite3
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from perfbench_runner.results.encoding import decode

Start = Callable[..., Any]
KEY = "planted-7Fq2ZtR9xW4mK8vB3nL6pQ1sD5"
OTHER = "other-J4hT8yU2wE6rN9bV3cX7zM1k"
QUERY = "query-A5sD8fG2hJ4kL9qW3eR6tY1u"


def event(text: str) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": text}}]}).encode() + b"\n\n"


END = b"data: [DONE]\n\n"


STREAM, PLAIN = "200 OK\r\nContent-Type: text/event-stream", "200 OK\r\nContent-Type: application/json"
HOWS: dict[str, Callable[[str, list[str]], tuple[str, bytes]]] = {
    "unauthorized": lambda seen, keys: (
        "401 No\r\nContent-Type: application/json",
        json.dumps({"error": f"wrong key: {keys}"}).encode(),
    ),
    "within the end of the error's text": lambda seen, keys: ("500 No", b"x" * 485 + keys[0].encode()),
    "all": lambda seen, keys: (PLAIN, json.dumps({"choices": [{"message": {"content": seen}}]}).encode()),
    "no answer": lambda seen, keys: (PLAIN, json.dumps({"seen": keys}).encode()),
    "base64": lambda seen, keys: (
        STREAM,
        b"".join(event(b64encode(f"{pad}{key}{pad}".encode()).decode()) for key in keys for pad in ("", "u", "us:"))
        + END,
    ),
    "letter by letter": lambda seen, keys: (STREAM, b"".join(map(event, " ".join(keys))) + END),
    "token by token": lambda seen, keys: (
        STREAM,
        b"".join(event(keys[0][at : at + 4]) for at in range(0, len(keys[0]), 4)) + END,
    ),
    "beside the content": lambda seen, keys: (
        STREAM,
        event("hi").replace(b"{", b'{"trace": "%s", ' % keys[0].encode(), 1) * 300 + END,
    ),
    "error event": lambda seen, keys: (
        STREAM,
        event("a") + b"event: error\ndata: " + " ".join(keys).encode() + b"\n\n",
    ),
    "compressed": lambda seen, keys: (
        STREAM + "\r\nContent-Encoding: gzip",
        gzip.compress(event(" ".join(keys)) + END),
    ),
    "cut off": lambda seen, keys: (STREAM, event(keys[0])[:-20]),
}
"""What an endpoint may do with what it was sent: its response's head and body."""


@pytest.fixture
def echoing(served: Start) -> Callable[[str], tuple[str, list[str]]]:
    """A server that echoes; its URL, and the requests that it got."""

    def start(how: str) -> tuple[str, list[str]]:
        requests: list[str] = []

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                    found = re.search(r"content-length: *(\d+)", head.lower())
                    body = (await reader.readexactly(int(found[1]) if found else 0)).decode()
                    if head.startswith("GET"):
                        status, text = "200 OK", f'# TYPE vllm:x gauge\nvllm:x{{key="{KEY}"}} 1\n'.encode()
                    else:
                        requests.append(head + body)
                        keys = re.findall(r"(?:planted|other|query)-\w+", head + body)
                        status, text = HOWS[how](head + body, keys)
                    lines = f"HTTP/1.1 {status}\r\nContent-Length: {len(text)}\r\n\r\n"
                    writer.write(lines.encode() + text)
            except (asyncio.IncompleteReadError, ConnectionError):
                writer.close()

        return f"{served(handle)}/v1/chat/completions", requests

    return start


def forms(secret: str) -> list[bytes]:
    """The secret, its beginning, its base64."""
    found = [secret.encode(), secret[:14].encode(), secret[-14:].encode()]
    return found + [b64encode((pad + secret).encode())[4:36] for pad in ("", "u", "us:")]


def left(run: Any, *more: Path) -> bytes:
    """Everything that a run has left and said, bodies decoded."""
    texts = [run.stdout.encode(), run.stderr.encode(), *(path.read_bytes() for path in more)]
    texts += [path.read_bytes() for path in run.folder.rglob("*")]
    db = sqlite3.connect(run.database)
    for request, messages in db.execute("SELECT request, response_messages FROM bodies"):
        decoded = [json.dumps(decode(request))] if request else []
        decoded += decode(messages) if messages else []
        texts += [text.encode() for text in decoded]
        contents = [re.findall(r'"content": "((?:[^"\\]|\\.)*)"', text) for text in decoded]
        texts.append(
            "".join(text for each in contents for text in each).encode()
        )  # as whoever puts the tokens together
    db.close()
    return b"\n".join(texts)


def assert_no_secret(where: bytes) -> None:
    for secret in (KEY, OTHER, QUERY):
        for form in forms(secret):
            at = where.find(form)
            assert at < 0, where[max(0, at - 200) : at + 100]


@pytest.mark.parametrize("how", HOWS)
def test_a_key_that_is_echoed_is_in_nothing_that_a_run_leaves(
    echoing: Start, perfbench: Start, tmp_path: Path, how: str
) -> None:
    url, requests = echoing(how)
    message = tmp_path / "termination"
    spec = {
        "target": {
            "url": f"{url}?api_key={QUERY}&version=1",
            "model": "m",
            "apiKey": {"env": "GATEWAY_KEY"},
            "headers": [{"name": "X-Custom-Token", "value": OTHER}],
            "connectionTest": how in ("unauthorized", "no answer"),
        },
        "request": {"extraArgs": {"access_token": OTHER, "user": "me"}},
        "load": {"stages": [{"concurrency": 1, "requests": 3}], "gracePeriod": "1s"},
    }
    run = perfbench(spec, "--termination-message", str(message), env={"GATEWAY_KEY": KEY})
    run.wait()
    assert requests
    assert all(secret in requests[0] for secret in (KEY, OTHER, QUERY))
    assert_no_secret(left(run, message))
    kept = yaml.safe_load((run.folder / "manifest.yaml").read_text())["spec"]
    assert kept["target"]["url"] == f"{url}?api_key=${{PERFBENCH_QUERY_API_KEY}}&version=1"
    assert kept["target"]["apiKey"] == {"env": "GATEWAY_KEY"}
    assert kept["target"]["headers"] == [{"name": "X-Custom-Token", "value": "${PERFBENCH_HEADER_X_CUSTOM_TOKEN}"}]
    assert kept["request"]["extraArgs"] == {"access_token": "${PERFBENCH_HEADER_X_CUSTOM_TOKEN}", "user": "me"}


def test_a_kept_manifest_is_run_again_with_the_variables_that_it_names(
    echoing: Start, perfbench: Start, tmp_path: Path
) -> None:
    url, requests = echoing("all")
    flags = f"--url {url}?key={QUERY} --model m --number 1 --parallel 1 --api-key {KEY} --no-stream"
    first = perfbench(None, *flags.split(), "--headers", f'{{"Ocp-Apim-Subscription-Key": "{OTHER}"}}', name="first")
    assert first.wait() == 0, first.stderr
    kept = str(first.folder / "manifest.yaml")
    assert_no_secret(left(first))
    sent = requests[-1]
    again = perfbench(None, kept, name="again")
    assert again.wait() == 2
    assert "PERFBENCH_QUERY_KEY is not set" in again.stderr
    assert "PERFBENCH_HEADER_OCP_APIM_SUBSCRIPTION_KEY is not set" in again.stderr
    variables = {"PERFBENCH_QUERY_KEY": QUERY, "PERFBENCH_HEADER_OCP_APIM_SUBSCRIPTION_KEY": OTHER}
    again = perfbench(None, kept, name="once_more", env=variables)
    assert again.wait() == 2
    assert "PERFBENCH_API_KEY is not set" in again.stderr
    again = perfbench(None, kept, name="at_last", env={**variables, "PERFBENCH_API_KEY": KEY})
    assert again.wait() == 0, again.stderr
    assert requests[-1] == sent
    assert_no_secret(left(again))
    manifests = [yaml.safe_load((run.folder / "manifest.yaml").read_text()) for run in (first, again)]
    assert manifests[0] == manifests[1]


@pytest.mark.parametrize(
    "args",
    [
        ["--set", f"spec.target.apiKey=sk-{KEY}"],
        ["--set", f"spec.target.apiKey={KEY}"],
        ["--set", f"spec.target.model={{apiKey: {KEY}}}"],
        ["--set", f"spec.target.password={KEY}", "--set", f"spec.load.stages=sk-{KEY}"],
        ["--set", f"spec.target.headers=[{{name: X-Api-Key, secretKeyRef: {KEY}}}]"],
        ["--dry-run", "--headers", f"Authorization: Bearer {KEY}"],
        ["--api-args", f"api_key: {KEY}"],
        ["--set", f"spec.target.url={KEY}", "--api-key", KEY],
        ["--dry-run", "--api-key", KEY, "--extra-args", f'{{"api_key": "{KEY}"}}'],
    ],
)
def test_a_key_in_the_wrong_place_is_not_shown(perfbench: Start, args: list[str]) -> None:
    run = perfbench(None, "--url", "http://127.0.0.1:9", "--model", "m", *args)
    assert run.wait() in (0, 2)
    assert KEY not in run.stdout + run.stderr, run.stdout + run.stderr
    assert run.stdout or "error: " in run.stderr


def test_a_plugins_mistake_does_not_show_the_key(perfbench: Start, tmp_path: Path) -> None:
    plugin = tmp_path / "leaky.py"
    plugin.write_text(
        "from perfbench_plugins.api.openai_api import OpenaiPlugin\n"
        "from perfbench_plugins.registry import register_api\n"
        "import logging\n\n\n@register_api('leaky')\nclass Leaky(OpenaiPlugin):\n"
        "    def build_request(self, messages, param=None):\n"
        "        logging.warning('key %s', self.param.api_key.get_secret_value())\n"
        "        raise ValueError(self.param.api_key.get_secret_value())\n"
    )
    flags = f"--plugin {plugin} --api leaky --url http://127.0.0.1:9 --model m --number 1"
    run = perfbench(None, *flags.split(), env={"PERFBENCH_API_KEY": KEY})
    assert run.wait() == 2
    assert KEY not in run.stderr
    assert "WARNING key [hidden]" in run.stderr
