"""A helper of EvalScope's `default_api` that plugins made from its files import."""

from typing import Any


def _parse_chat_delta(delta: Any) -> tuple[str, bool]:  # plugins import it by this name
    """Text of a chat delta, reasoning included, and whether it has any output: calls of tools have no text."""
    if not isinstance(delta, dict):
        return "", False
    text = _text(delta.get("content")) + (_text(delta.get("reasoning_content")) or _text(delta.get("reasoning")))
    calls = delta.get("tool_calls")
    functions = [call.get("function") for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    details = delta.get("reasoning_details")
    parts = [
        *((function, ("name", "arguments")) for function in functions),
        *((detail, ("text", "summary")) for detail in (details if isinstance(details, list) else [])),
    ]
    return text, bool(text) or any(
        _text(part.get(key)) for part, keys in parts if isinstance(part, dict) for key in keys
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
