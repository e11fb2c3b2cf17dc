"""A model's chat template: how chat messages become the text that the model reads.

Jinja is part of the optional extra `tokenizers` and imported when a template is used.
"""

import json
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from perfbench_plugins.content import message_text


class TokenizerError(ValueError):
    """A tokenizer that cannot be loaded: says what is missing and how to get it."""


@dataclass(frozen=True)
class ChatTemplate:
    """The model's Jinja template: how chat messages become the text that the model reads."""

    source: str
    special: dict[str, Any] = field(default_factory=dict)
    """What templates may name: bos_token, eos_token, …"""

    def render(self, messages: list[dict[str, Any]], **values: Any) -> str:
        """The text for messages; raises TokenizerError where the template refuses them."""
        import jinja2

        try:
            return str(self._compiled.render(messages=list(map(_plain, messages)), **{**self.special, **values}))
        except (jinja2.TemplateError, TypeError, ValueError, LookupError, AttributeError) as error:
            # a template that adds texts fails on a list of parts as Python does
            where = f" (its line {line})" if (line := line_of_template(error)) else ""
            raise TokenizerError(f"the chat template cannot render these messages: {error}{where}") from None

    @cached_property
    def _compiled(self) -> Any:
        import jinja2
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        # trim_blocks and lstrip_blocks are what templates on the hubs are written for
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )

        def refuse(message: str) -> None:
            raise jinja2.TemplateError(message)

        environment.globals.update(raise_exception=refuse, strftime_now=lambda form: datetime.now().strftime(form))
        environment.filters["tojson"] = lambda value, **how: json.dumps(
            value, ensure_ascii=False, indent=how.get("indent")
        )
        try:
            return environment.from_string(self.source)
        except jinja2.TemplateError as error:
            line = getattr(error, "lineno", None)
            where = f" (its line {line})" if line else ""
            raise TokenizerError(f"the chat template is no Jinja template: {error}{where}") from None


def line_of_template(error: BaseException) -> int | None:
    """The line of a Jinja template in which rendering it went wrong; None where that is not known."""
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":  # Jinja's name for one that is in no file
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _plain(message: dict[str, Any]) -> dict[str, Any]:
    """A message whose content is text, where all its parts are; most templates know no parts."""
    content = message.get("content")
    if isinstance(content, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in content):
        return {**message, "content": message_text(message)}
    return message
