"""TLS as the manifest asks for it, over a wire: what is decrypted keeps the stamp of the segment that completed its record."""

import asyncio
import ssl
from collections.abc import Callable

from perfbench_runner.wire import READ_BYTES, OnEnd, Wire, ignore


def tls_context(
    ca_file: str | None = None, cert_file: str | None = None, key_file: str | None = None, insecure: bool = False
) -> ssl.SSLContext:
    """A client's context: servers are verified against the system's authorities or one's own, unless `insecure`."""
    context = ssl.create_default_context(cafile=ca_file)
    if insecure:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if cert_file:
        context.load_cert_chain(cert_file, key_file)
    return context


class Tls:
    """A client's side of TLS on a wire. `handshake` first; then `send`, and `on_data` gets what was decrypted.

    A read of the wire may complete no record, or several: `on_data` is called for each, and `wire.last_s` is its time.
    """

    __slots__ = ("_incoming", "_object", "_outgoing", "_shaken", "on_data", "on_end", "wire")

    def __init__(self, wire: Wire, context: ssl.SSLContext, host: str) -> None:
        self.wire = wire
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._shaken: asyncio.Future[None] | None = None
        self.on_data: Callable[[bytes], object] = ignore
        self.on_end: OnEnd = ignore
        wire.on_data, wire.on_end = self._feed, self._ended

    async def handshake(self) -> None:
        """Agree on keys. Raises ssl.SSLError or OSError; bounding the time is the caller's business."""
        self._shaken = asyncio.get_running_loop().create_future()
        self._shake()
        try:
            await self._shaken
        finally:
            self._shaken = None

    def _shake(self) -> None:
        """One step of the handshake."""
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
        except ssl.SSLError as error:
            self._flush()  # an alert tells the server why
            self._settle(error)
        else:
            self._flush()
            self._settle(None)

    def _settle(self, error: Exception | None) -> None:
        if self._shaken and not self._shaken.done():
            if error:
                self._shaken.set_exception(error)
            else:
                self._shaken.set_result(None)

    def send(self, data: bytes) -> float:
        """Encrypt and send. Returns the time just before the kernel got the first byte."""
        self._object.write(data)
        return self._flush()

    def _flush(self) -> float:
        return self.wire.send(self._outgoing.read())

    def _feed(self, data: memoryview) -> None:
        self._incoming.write(data)
        if self._shaken is not None and not self._shaken.done():
            self._shake()
            return
        try:
            while plain := self._object.read(READ_BYTES):
                self.on_data(plain)
                if not self._incoming.pending and not self._object.pending():
                    break  # the usual case: one whole record, nothing more
            else:
                self._ended(None)  # close_notify: nothing more will come
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self._ended(error)
        if self._outgoing.pending:  # an answer to a change of keys
            self._flush()

    def _ended(self, error: Exception | None) -> None:
        if self._shaken is not None:
            self._settle(error or ConnectionResetError("the server closed the connection within the TLS handshake"))
            return
        on_end, self.on_end = self.on_end, ignore
        on_end(error)
