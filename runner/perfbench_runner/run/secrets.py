"""API keys and secret headers: from environment variables or a .env file, never from or into a manifest."""

import os
from collections.abc import Mapping
from pathlib import Path

from perfbench_api.resource import SpecError
from perfbench_api.sections import Target
from perfbench_plugins.arguments import Arguments

API_KEY = "PERFBENCH_API_KEY"
SECRET_HEADERS = ("authorization", "proxy-authorization", "x-api-key", "api-key", "x-auth-token", "cookie")
"""Headers whose values are secrets wherever they come from."""


def environment(folder: Path | None = None) -> dict[str, str]:
    """Environment variables, completed by the .env file of a folder (the working directory's if not given)."""
    file = (folder or Path.cwd()) / ".env"
    if not file.exists():
        return dict(os.environ)
    from dotenv import dotenv_values

    return {**{name: value for name, value in dotenv_values(file).items() if value is not None}, **os.environ}


def api_key(target: Target, env: Mapping[str, str]) -> str | None:
    """The API key that the manifest refers to; raises SpecError when it is asked for and not there."""
    source = target.api_key
    name = source.env if source and source.env else API_KEY
    key = env.get(name)
    if key is None and source is not None:
        raise SpecError([f"spec.target.apiKey: environment variable {name} is not set (nor in .env)"])
    return (key or "").strip() or None  # a Secret made from a file ends in a line break


def headers(target: Target, env: Mapping[str, str]) -> dict[str, str]:
    """All headers, secret values put in; raises SpecError when one is not there."""
    values, problems = {}, []
    for index, header in enumerate(target.headers):
        value = header.value if header.value is not None else env.get(header.env, "").strip() or None
        if value is None:
            problems.append(f"spec.target.headers[{index}]: environment variable {header.env} is not set (nor in .env)")
        else:
            values[header.name] = value
    if problems:
        raise SpecError(problems)
    return values


def of_arguments(arguments: Arguments) -> tuple[str | None, dict[str, str]]:
    """The API key and the secret headers, which `to_benchmark` leaves out."""
    key = arguments.api_key.get_secret_value() if arguments.api_key else None
    return key, {name: value for name, value in arguments.headers.items() if is_secret(name)}


def is_secret(header: str) -> bool:
    """Whether a header's value must not be written anywhere."""
    return header.lower() in SECRET_HEADERS
