"""The vendors' own Python clients against the bundled mock: they must understand its dialects.

    pip install openai anthropic cohere dashscope huggingface_hub     # in an environment of its own
    perfbench mock --port 8000 --ttft-s 0.001 --itl-s 0.0002 --reasoning-tokens 2 &
    python bench/third_party.py http://127.0.0.1:8000

Prints a line for each check and exits with the number of failed ones; a client that is not installed is left out.
"""

import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

CHAT = [{"role": "user", "content": "well hello there"}]
TOKENS = 6
Check = tuple[str, bool]


def openai(url: str) -> Iterator[Check]:
    from openai import OpenAI

    client: Any = OpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0)
    chunks = list(
        client.chat.completions.create(
            model="m", messages=CHAT, max_tokens=TOKENS, stream=True, stream_options={"include_usage": True}
        )
    )
    yield "chat, streamed", chunks[-1].usage.completion_tokens == TOKENS
    answer = client.responses.create(model="m", input=CHAT, max_output_tokens=TOKENS)
    yield "responses", answer.usage.output_tokens == TOKENS and bool(answer.output_text)
    events = list(client.responses.create(model="m", input=CHAT, max_output_tokens=TOKENS, stream=True))
    yield "responses, numbered", [event.sequence_number for event in events] == list(range(len(events)))
    with client.responses.stream(model="m", input=CHAT, max_output_tokens=TOKENS) as stream:
        yield "responses, put together", sum(event.type.endswith("text.delta") for event in stream) == TOKENS
    yield "embeddings", len(client.embeddings.create(model="m", input=["a b", "c"]).data) == 2


def anthropic(url: str) -> Iterator[Check]:
    from anthropic import Anthropic

    client: Any = Anthropic(base_url=url, api_key="k", max_retries=0)
    message = client.messages.create(model="m", max_tokens=TOKENS, messages=CHAT)
    yield "messages", (message.usage.input_tokens, message.usage.output_tokens) == (3, TOKENS)
    with client.messages.stream(model="m", max_tokens=TOKENS, messages=CHAT) as stream:
        streamed = stream.get_final_message()
    yield (
        "messages, put together",
        [block.type for block in streamed.content] == [block.type for block in message.content],
    )
    yield "messages, usage of a stream", streamed.usage.output_tokens == TOKENS


def cohere(url: str) -> Iterator[Check]:
    from cohere import ClientV2

    answer: Any = ClientV2(api_key="k", base_url=url).rerank(model="m", query="q", documents=["a b", "c", "d"], top_n=2)
    yield "rerank", ([item.index for item in answer.results], answer.meta.tokens.input_tokens) == ([2, 1], 7)


def dashscope(url: str) -> Iterator[Check]:
    import dashscope

    dashscope.base_http_api_url, dashscope.api_key = f"{url}/api/v1", "k"
    call: Callable[..., Any] = dashscope.Generation.call
    common = {"model": "qwen-plus", "messages": CHAT, "max_tokens": TOKENS, "result_format": "message"}
    answer = call(**common)
    yield "generation", (answer.status_code, answer.usage.output_tokens) == (200, TOKENS)
    parts = [part.output.choices[0] for part in call(**common, stream=True, incremental_output=True)]
    text = "".join(part.message.content for part in parts)
    yield "generation, streamed", text == answer.output.choices[0].message.content
    yield "generation, its end", parts[-1].finish_reason == "length"
    refused = call(model="qwen-plus", prompt="x", max_tokens=-1)
    yield "generation, refused", (refused.status_code, refused.code) == (400, "InvalidParameter")


def huggingface_hub(url: str) -> Iterator[Check]:
    from huggingface_hub import InferenceClient

    plain: Any = InferenceClient(model=f"{url}/generate")
    answer = plain.text_generation("one two three", details=True, max_new_tokens=TOKENS)
    yield "generate", answer.details.generated_tokens == TOKENS
    client: Any = InferenceClient(model=f"{url}/generate_stream")
    tokens = list(client.text_generation("one two three", details=True, stream=True, max_new_tokens=TOKENS))
    yield "generate_stream", (len(tokens), tokens[-1].details.input_length) == (TOKENS + 1, 3)


def main(url: str) -> int:
    failed = 0
    for client in (openai, anthropic, cohere, dashscope, huggingface_hub):
        if find_spec(client.__name__) is None:
            print(f"skip  {client.__name__}: not installed")
            continue
        for name, is_right in client(url):
            print(f"{'ok' if is_right else 'FAIL':5} {client.__name__}: {name}")
            failed += not is_right
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1].rstrip("/")))
