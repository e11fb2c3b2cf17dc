"""Asking a runner over HTTP while it runs."""

import urllib.request


def get(listen: str, path: str) -> str:
    """What the runner answers; nothing while it does not."""
    try:
        with urllib.request.urlopen(f"http://{listen}{path}", timeout=5) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""
