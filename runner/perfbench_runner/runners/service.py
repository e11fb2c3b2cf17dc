"""Where the leader listens to its workers: HTTP, for who has the run's token and nobody else."""

import asyncio
import hmac
import socket
from collections.abc import Awaitable, Callable
from typing import TypeVar

from aiohttp import web
from pydantic import ValidationError

from perfbench_runner.results.writer import StoreError
from perfbench_runner.runners.handover import Inbox
from perfbench_runner.runners.leader import Leader
from perfbench_runner.runners.members import Member, RefusedError
from perfbench_runner.runners.messages import (
    BODY_BYTES,
    CHUNK_BYTES,
    Beat,
    ClockAnswer,
    Delivered,
    FileDone,
    FileState,
    FromWorker,
    Hello,
    LeaseAnswer,
    LeaseRequest,
    Leaving,
    Message,
    Ready,
    Rows,
)

NEWS_WAIT_S = 5.0
"""Who asks for news that is not there yet waits so long for an answer."""
FromWorkerType = TypeVar("FromWorkerType", bound=FromWorker)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Service:
    """Serves the agreement on a socket. Belongs to the leader's loop."""

    def __init__(self, leader: Leader, inbox: Inbox, token: str, sock: socket.socket) -> None:
        if not token:
            raise ValueError("a run of several runners needs a token")
        self._leader, self._inbox, self._token, self._socket = leader, inbox, token.encode(), sock
        self._runner: web.AppRunner | None = None
        self._writing: dict[int, asyncio.Lock] = {}
        """By runner: one chunk of its file after the other."""

    async def open(self) -> None:
        """Start serving."""
        app = web.Application(middlewares=[self._guard], client_max_size=BODY_BYTES)
        app.router.add_get("/clock", self._clock)
        app.router.add_post("/hello", self._hello)
        app.router.add_get("/news", self._news)
        for name, handler in (
            ("ready", self._ready),
            ("lease", self._lease),
            ("beat", self._beat),
            ("leaving", self._leaving),
            ("rows", self._rows),
            ("file/done", self._file_done),
        ):
            app.router.add_post(f"/runners/{{runner:\\d{{1,4}}}}/{name}", handler)
        app.router.add_get("/runners/{runner:\\d{1,4}}/file", self._file_state)
        app.router.add_put("/runners/{runner:\\d{1,4}}/file", self._file)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.SockSite(self._runner, self._socket).start()

    async def close(self) -> None:
        """Serve no longer."""
        if self._runner is not None:
            await self._runner.cleanup()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(token.strip().encode(), self._token):
            raise web.HTTPUnauthorized(text="this is a run's own business: it needs the run's token\n")
        try:
            return await handler(request)
        except RefusedError as error:
            return web.Response(status=error.status, text=f"{error}\n")
        except ValidationError as error:
            return web.Response(status=400, text=f"{error.error_count()} fields of the message are wrong\n")
        except StoreError as error:
            self._leader.stored(str(error))
            return web.Response(status=507, text=f"{error}\n")

    async def _clock(self, request: web.Request) -> web.StreamResponse:
        received_s = self._leader.clock()
        # Both at once: what is between the second one and the answer's way out is in the delay, and so in the bound.
        return _answer(ClockAnswer(received_s=received_s, answered_s=self._leader.clock()))

    async def _hello(self, request: web.Request) -> web.StreamResponse:
        return _answer(self._leader.hello(Hello.model_validate_json(await request.read())))

    async def _news(self, request: web.Request) -> web.StreamResponse:
        first = request.query.get("first", "")
        if not first.isdecimal() or len(first) > 9:
            raise RefusedError(400, "first: a number is missing")
        return _answer(await self._leader.news(int(first), NEWS_WAIT_S))

    async def _said(self, request: web.Request, kind: type[FromWorkerType]) -> tuple[Member, FromWorkerType]:
        said = kind.model_validate_json(await request.read())
        number = int(request.match_info["runner"])
        return self._leader.members.of(number, said.instance, self._leader.clock()), said

    async def _ready(self, request: web.Request) -> web.StreamResponse:
        member, said = await self._said(request, Ready)
        self._leader.ready(member, said.stage)
        return web.Response(status=204)

    async def _lease(self, request: web.Request) -> web.StreamResponse:
        member, said = await self._said(request, LeaseRequest)
        lease = self._leader.leased(member.number, said.stage, said.outstanding, said.most)
        return _answer(LeaseAnswer(**lease._asdict()))

    async def _beat(self, request: web.Request) -> web.StreamResponse:
        self._leader.beat(*await self._said(request, Beat))
        return web.Response(status=204)

    async def _rows(self, request: web.Request) -> web.StreamResponse:
        self._leader.rows(*await self._said(request, Rows))
        return web.Response(status=204)

    async def _leaving(self, request: web.Request) -> web.StreamResponse:
        self._leader.leaving(*await self._said(request, Leaving))
        return web.Response(status=204)

    # Files.

    def _sender(self, request: web.Request) -> Member:
        number, instance = int(request.match_info["runner"]), request.headers.get("Perfbench-Instance", "")
        return self._leader.members.of(number, instance, self._leader.clock())

    async def _file_state(self, request: web.Request) -> web.StreamResponse:
        member = self._sender(request)
        return _answer(FileState(received=await asyncio.to_thread(self._inbox.received, member.number)))

    async def _file(self, request: web.Request) -> web.StreamResponse:
        """A chunk: all of it or nothing. A connection that is cut in the middle leaves what was there before."""
        member, offset = self._sender(request), request.headers.get("Perfbench-Offset", "")
        if not offset.isdecimal() or len(offset) > 18:
            raise RefusedError(400, "Perfbench-Offset: a number is missing")
        if request.content_length is None or not 0 < request.content_length <= CHUNK_BYTES:
            raise RefusedError(413, f"a chunk has up to {CHUNK_BYTES} bytes")
        data = await request.content.readexactly(request.content_length)
        async with self._writing.setdefault(member.number, asyncio.Lock()):
            received = await asyncio.to_thread(self._inbox.append, member.number, int(offset), data)
        self._leader.stored("")
        return _answer(FileState(received=received))

    async def _file_done(self, request: web.Request) -> web.StreamResponse:
        member, said = await self._said(request, FileDone)
        delivered = Delivered(name=member.name, node=member.node, why=member.why, done=said)
        async with self._writing.setdefault(member.number, asyncio.Lock()):
            member.file = await asyncio.to_thread(self._inbox.finish, member.number, delivered)
        member.done = said
        self._leader.delivered(member)
        return web.Response(status=204)


def _answer(message: Message) -> web.Response:
    return web.json_response(text=message.model_dump_json())
