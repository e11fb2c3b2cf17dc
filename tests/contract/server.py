"""An endpoint that answers as several APIs do, on a fixed beat, and keeps every request that it got.

Run as a program it prints its port and serves until its standard input ends. `GET /requests` gives what came since the
last time, in order; `GET /reset` forgets it.
"""

import asyncio
import json
import sys
from time import monotonic
from typing import Any

from aiohttp import web

TTFT_S, ITL_S = 0.06, 0.012
"""When the first token comes, and the time between two."""
KEPT_HEADERS = ("authorization", "x-mine", "x-trace")
REQUESTS = web.AppKey("requests", list)


async def keep(request: web.Request) -> dict[str, Any]:
    body: dict[str, Any] = await request.json()
    headers = {name: value for name in KEPT_HEADERS if (value := request.headers.get(name))}
    request.app[REQUESTS].append({"path": request.path, "headers": headers, "body": body, "at_s": monotonic()})
    return body


def prompt_tokens(body: dict[str, Any]) -> int:
    """As many as the prompt has characters: exact, and the same for everybody."""
    given = body.get("messages") or body.get("prompt") or body.get("input") or body.get("input_text") or ""
    return len(json.dumps(given, ensure_ascii=False))


async def beat(tokens: int) -> Any:
    """Numbers from 0, the first after TTFT_S and each other ITL_S after the one before."""
    start_s = monotonic()
    for number in range(tokens):
        await asyncio.sleep(max(0.0, start_s + TTFT_S + number * ITL_S - monotonic()))
        yield number


async def stream(request: web.Request, events: Any) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    async for event in events:
        await response.write(event.encode())
    await response.write_eof()
    return response


def data(value: Any) -> str:
    return f"data: {value if isinstance(value, str) else json.dumps(value)}\n\n"


async def openai(request: web.Request) -> web.StreamResponse:
    body = await keep(request)
    chat = request.path.endswith("chat/completions")
    if ("stream_options" in body) and not body.get("stream"):
        return web.json_response({"error": {"message": "stream_options without stream"}}, status=400)
    if chat != ("messages" in body) and "input_text" not in body:
        return web.json_response({"error": {"message": "wrong endpoint"}}, status=400)
    if body.get("status"):
        return web.json_response({"error": {"message": "no luck"}}, status=body["status"])
    tokens = body.get("max_tokens") or 4
    usage = {
        "prompt_tokens": prompt_tokens(body),
        "completion_tokens": tokens,
        "prompt_tokens_details": {"cached_tokens": 3},
    }
    head = {"id": "x-1", "object": "chat.completion.chunk" if chat else "text_completion", "model": body.get("model")}
    if not body.get("stream"):
        text = "tok " * tokens
        async for _ in beat(1):
            pass
        choice = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        answer = {"index": 0, "finish_reason": "stop", **choice}
        whole = {**head, "object": "chat.completion" if chat else "text_completion", "choices": [answer]}
        return web.json_response({**whole, **({} if body.get("no_usage") else {"usage": usage})})

    async def events() -> Any:
        async for number in beat(tokens):
            if number == body.get("break_after"):
                yield data({"error": {"message": "out of memory", "code": 500}})
                return
            said = {"delta": {"content": "tok "}} if chat else {"text": "tok "}
            last = "stop" if number == tokens - 1 else None
            yield data({**head, "choices": [{"index": 0, "finish_reason": last, **said}]})
        if (body.get("stream_options") or {}).get("include_usage"):
            yield data({**head, "choices": [], "usage": usage})
        yield data("[DONE]")

    return await stream(request, events())


async def odd(request: web.Request) -> web.StreamResponse:
    """A stream of its own shape: event and id lines, comments, no [DONE], no blank line at the end."""
    body = await keep(request)
    tokens = body.get("length") or 4

    async def events() -> Any:
        yield ": hello\n\n"
        async for number in beat(tokens):
            yield f'id: {number}\nevent: token\ndata: {{"token": "tok "}}\n\n'
        yield f'event: end\ndata: {{"counted": {{"in": {prompt_tokens(body)}, "out": {tokens}}}}}'

    return await stream(request, events())


async def responses(request: web.Request) -> web.StreamResponse:
    body = await keep(request)
    tokens = body.get("max_output_tokens") or 4
    usage = {"input_tokens": prompt_tokens(body), "output_tokens": tokens}

    async def events() -> Any:
        yield data({"type": "response.created", "response": {"status": "in_progress"}})
        async for _ in beat(tokens):
            yield data({"type": "response.output_text.delta", "delta": "tok "})
        yield data({"type": "response.completed", "response": {"status": "completed", "usage": usage}})

    return await stream(request, events())


async def embeddings(request: web.Request) -> web.StreamResponse:
    body = await keep(request)
    given = body["input"] if isinstance(body["input"], list) else [body["input"]]
    vectors = [{"index": index, "embedding": [0.1, 0.2]} for index in range(len(given))]
    await asyncio.sleep(TTFT_S)
    tokens = prompt_tokens(body)
    return web.json_response({"data": vectors, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}})


async def rerank(request: web.Request) -> web.StreamResponse:
    body = await keep(request)
    scores = [{"index": index, "relevance_score": 0.5} for index in range(len(body["documents"]))]
    await asyncio.sleep(TTFT_S)
    return web.json_response({"results": scores, "usage": {"prompt_tokens": 7, "total_tokens": 7}})


async def requests(request: web.Request) -> web.StreamResponse:
    kept = list(request.app[REQUESTS])
    request.app[REQUESTS].clear()
    return web.json_response(kept)


def app() -> web.Application:
    made = web.Application(client_max_size=2**26)
    made[REQUESTS] = []
    for path in ("/v1/chat/completions", "/v1/completions"):
        made.router.add_post(path, openai)
    made.router.add_post("/odd", odd)
    made.router.add_post("/v1/responses", responses)
    made.router.add_post("/v1/embeddings", embeddings)
    made.router.add_post("/v1/rerank", rerank)
    made.router.add_get("/requests", requests)
    return made


async def main() -> None:
    runner = web.AppRunner(app(), handle_signals=False)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main())
