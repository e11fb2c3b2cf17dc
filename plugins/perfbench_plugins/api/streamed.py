"""What plugins take a stream apart with that read their responses themselves, as EvalScope's do."""

import codecs

import orjson


class StreamedResponseHandler:
    """Splits a byte stream into its SSE messages as they come."""

    def __init__(self) -> None:
        self.buffer = ""
        self.decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def add_chunk(self, chunk_bytes: bytes) -> list[str]:
        """Add bytes; returns the data of the messages that are complete now, each as `data: …` in one line.

        Comments, events without data and other fields are left out. A last message whose blank line is missing counts
        as soon as its data is whole.
        """
        self.buffer = (self.buffer + self.decoder.decode(chunk_bytes)).replace("\r\n", "\n")
        *blocks, self.buffer = self.buffer.split("\n\n")
        found = [data for block in blocks if (data := _data_of(block))]
        rest = _data_of(self.buffer)
        if rest and _is_whole(rest):
            found.append(rest)
            self.buffer = ""
        return [f"data: {data}" for data in found]


def _data_of(block: str) -> str:
    """The data of one block of a stream: its `data` lines together."""
    lines = (line.partition(":") for line in block.split("\n"))
    return "".join(value.removeprefix(" ") for field, _, value in lines if field == "data").strip()


def _is_whole(data: str) -> bool:
    try:
        return data == "[DONE]" or orjson.loads(data) is not None
    except ValueError:
        return False
