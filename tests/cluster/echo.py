"""An endpoint that shows the key it is sent, in every way that endpoints do: a program for a pod, of the standard library only.

The first part of a request's path says how. What it logs is how many requests came with a key, never the key.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = os.environ.get("KEY", "")


def event(text: str) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": text}}]}).encode() + b"\n\n"


def said(key: str) -> list[str]:
    """Tokens of an answer: the key, in base64, and letter by letter."""
    return [f"You are {key}.", base64.b64encode(f"u:{key}".encode()).decode(), *key, *key]


END = b"data: [DONE]\n\n"
WAYS: dict[str, Callable[[str], tuple[int, dict[str, str], bytes]]] = {
    "answer": lambda key: (200, {"X-Seen": key, "Set-Cookie": f"session={key}"}, b"".join(map(event, said(key))) + END),
    "event": lambda key: (200, {}, event("hi") + b"event: error\ndata: " + key.encode() + b"\n\n"),
    "error": lambda key: (500, {}, b"x" * 480 + key.encode()),
    "refusal": lambda key: (401, {"WWW-Authenticate": key}, json.dumps({"error": f"wrong key: {key}"}).encode()),
}
"""Status, headers and body that show a key."""


class Server(ThreadingHTTPServer):
    request_queue_size = 128

    def handle_error(self, *about: object) -> None:
        """A client that has gone away is none of the log's business."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Metrics, and whether it is up: to everybody, so it shows the key that it is told."""
        self._answer(200, {}, f'# TYPE vllm:x gauge\nvllm:num_requests_running{{key="{KEY}"}} 1\n'.encode())

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        way, key = self.path.split("/")[1], self.headers.get("Authorization", "").removeprefix("Bearer ")
        print(f"{way} {'with the key' if key == KEY else 'without'}\n", end="", flush=True)  # threads: in one piece
        self._answer(*WAYS[way](key))

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "text/event-stream" if body.startswith(b"data") else "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Requests are logged above."""


if __name__ == "__main__":
    Server(("", 8000), Handler).serve_forever()
