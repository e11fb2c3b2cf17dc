"""What one of several targets needs of the cluster: variables for its Secrets, a file for its authority. Pure."""

from perfbench_api.sections import ApiKey, Authority, Header, OneTarget
from perfbench_api.sections.references import KeyRef
from perfbench_operator.objects.layout import CONFIG


def secrets(target: OneTarget, number: int) -> dict[str, KeyRef]:
    """Its Secrets, by the variable of the runner that holds each: two targets may have two of one header."""
    key = target.api_key
    found = {_key(number): key.secret_key_ref} if key and key.secret_key_ref else {}
    headers = {_header(header, number): header.secret_key_ref for header in target.headers or ()}
    return found | {name: reference for name, reference in headers.items() if reference}


def resolved(target: OneTarget, number: int) -> OneTarget:
    """The target as the runner reads it: Secrets are variables, its authority is a file."""
    target = target.model_copy()
    if target.api_key and target.api_key.secret_key_ref:
        target.api_key = ApiKey(env=_key(number))
    if target.headers:
        target.headers = [
            Header(name=header.name, env=_header(header, number)) if header.secret_key_ref else header
            for header in target.headers
        ]
    if target.tls and target.tls.ca and not target.tls.ca.file:
        target.tls = target.tls.model_copy(update={"ca": Authority(file=f"{CONFIG}/{authority(number)}")})
    return target


def authority(number: int) -> str:
    """Where its authority's certificates are, below CONFIG."""
    return f"ca-{number}/ca.crt"


def _key(number: int) -> str:
    return f"PERFBENCH_TARGET_{number}_API_KEY"


def _header(header: Header, number: int) -> str:
    return f"PERFBENCH_TARGET_{number}_{header.variable.removeprefix('PERFBENCH_')}"
