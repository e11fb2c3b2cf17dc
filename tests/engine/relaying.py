"""Bytes passed on between two connections, as a proxy does."""

import asyncio


async def relay_to(port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, first: bytes = b"") -> None:
    """Join a connection to a local port, which gets `first` before all else, until both sides have ended."""
    there, back = await asyncio.open_connection("127.0.0.1", port)
    back.write(first)
    await asyncio.gather(_passed_on(reader, back), _passed_on(there, writer))


async def _passed_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(2**16):
            writer.write(data)
    except OSError:
        pass
    finally:
        writer.close()
