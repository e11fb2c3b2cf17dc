"""Text Generation Inference: /generate and /generate_stream. A token that ends the answer comes after its words."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import orjson

from perfbench_runner.mock import words
from perfbench_runner.mock.dialects import openai
from perfbench_runner.mock.plan import BadRequestError, Call, Plan

_STREAM = "/generate_stream"
_TYPES = {429: "overloaded", 400: "validation", 422: "validation"}


class TGI:
    paths = ("/generate", _STREAM)

    def plan(self, call: Call) -> Plan:
        inputs, parameters = call.body.get("inputs"), call.body.get("parameters") or {}
        if not isinstance(inputs, str) or not inputs:
            raise BadRequestError("Input validation error: `inputs` must be a string, and not empty")
        if not isinstance(parameters, dict):
            raise BadRequestError("Input validation error: `parameters` must be an object")
        temperature, top_p = parameters.get("temperature"), parameters.get("top_p")
        if temperature is not None and temperature <= 0:
            raise BadRequestError("Input validation error: `temperature` must be strictly positive")
        if top_p is not None and not 0 < top_p < 1:
            raise BadRequestError("Input validation error: `top_p` must be > 0.0 and < 1.0")
        tokens, cut = replace(call, body=parameters).length("max_new_tokens")
        prompt_tokens = words.count_tokens(inputs)
        reason = "length" if cut else "eos_token"
        make = _stream if call.path == _STREAM else _document
        return make(call, parameters, prompt_tokens, tokens, reason)

    def error(self, status: int, message: str) -> bytes:
        return orjson.dumps({"error": message, "error_type": _TYPES.get(status, "generation")})


def _token(number: int, text: str, special: bool = False) -> dict[str, Any]:
    return {"id": number, "text": text, "logprob": -0.5, "special": special}


def _stream(call: Call, parameters: dict[str, Any], prompt_tokens: int, tokens: int, reason: str) -> Plan:
    details = {"finish_reason": reason, "generated_tokens": tokens, "seed": None, "input_length": prompt_tokens}
    last = {
        "index": tokens + 1,
        "token": _token(2, "</s>", special=True),
        "generated_text": words.text(tokens),
        "details": details if call.settings.usage != "never" else None,
    }
    return Plan.stream(
        _content(tokens),
        prompt_tokens=prompt_tokens,
        tokens=tokens,
        tail=(b"data:" + orjson.dumps(last) + b"\n\n",),
        error=b"data:" + orjson.dumps({"error": openai.SPOILT, "error_type": "generation"}) + b"\n\n",
    )


def _content(tokens: int) -> Iterator[bytes]:
    end = b'","logprob":-0.5,"special":false},"generated_text":null,"details":null}\n\n'
    for number, word in enumerate(words.pieces(tokens), 1):
        yield b'data:{"index":%d,"token":{"id":%d,"text":"' % (number, number) + word + end


def _document(call: Call, parameters: dict[str, Any], prompt_tokens: int, tokens: int, reason: str) -> Plan:
    document: dict[str, Any] = {"generated_text": words.text(tokens)}
    if parameters.get("details") and call.settings.usage != "never":
        prefill = range(prompt_tokens) if parameters.get("decoder_input_details") else range(0)
        document["details"] = {
            "finish_reason": reason,
            "generated_tokens": tokens,
            "seed": None,
            "prefill": [{"id": number, "text": "x", "logprob": None} for number in prefill],
            "tokens": [_token(number, word.decode()) for number, word in enumerate(words.pieces(tokens), 1)],
        }
    return Plan.json(document, prompt_tokens=prompt_tokens, tokens=tokens)
