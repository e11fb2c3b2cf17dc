"""`python -m perfbench_runner.mock`: the mock as MockProcess starts it. People use `perfbench mock`.

The first line of stdin is JSON: {"settings": {…}, "parent": pid}. Not an argument: settings may hold an API key.
"""

from perfbench_runner import signals

signals.ignore()  # until it serves; it ends when its parent closes stdin, too

import sys  # noqa: E402

import orjson  # noqa: E402

from perfbench_runner.mock.serve import serve_for_parent  # noqa: E402
from perfbench_runner.mock.settings import MockSettings  # noqa: E402


def main() -> int:
    try:
        order = orjson.loads(sys.stdin.buffer.readline())
        serve_for_parent(MockSettings.from_dict(order["settings"]), order["parent"])
    except (ValueError, KeyError, TypeError, OSError) as error:
        print(f"mock: {error}", file=sys.stderr)  # noqa: T201  # MockProcess reads it
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
