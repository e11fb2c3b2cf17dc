"""A mock of an LLM endpoint that knows its own truth: `perfbench mock`, `target: {mock: {}}`, `perfbench calibrate`.

Token k of a request is due at arrival + ttft + k * itl, an absolute deadline, so that nothing drifts; the mock writes
it at that time, notes how late it was, and tells in /stats. How it fits together, each importing only from above:

    settings    MockSettings: what it can be told
    words       its language: one token is one word
    plan        the seam: Call (a request as an API sees it) -> Plan (the bytes of the reply, not yet timed)
    dialects/   one API a file: Call -> Plan. Registered in dialects/__init__.py and nowhere else
    stats       the truth: counts and distributions, /stats and /metrics
    service     what it can carry: slots, the queue before them, what a batch slows. Pure; `simulation` runs it alone
    http        HTTP/1.1 on an asyncio.Protocol: whole requests in, bytes out
    replies     paces plans against the clock; spoils those that the settings choose
    server      MockServer: routes, limits, errors
    serve       the process: `perfbench mock` and `python -m perfbench_runner.mock`
    process     MockProcess: the mock as a child process (imported by its users only)

To add an API, write dialects/<api>.py with a class that has `paths`, `plan(call)` and `error(status, message)`, and
add it to the tuple in dialects/__init__.py. `plan` returns

    Plan.stream(content, head=…, tail=…, error=…, tokens=n, prompt_tokens=p)    for a streamed reply
    Plan.json(value, tokens=n, prompt_tokens=p)                                 for any other

`content` gives exactly n whole events, one a token: make them by joining bytes around a word of `words.pieces(n)`,
not with a JSON encoder, and lazily. `head` goes out with the first of them, `tail` with the last. `error` is the event
with which this API reports a failure inside a stream. A dialect never looks at a clock and never touches a socket.
"""
