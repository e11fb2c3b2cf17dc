"""StreamedResponseHandler: the data of server-sent events as they come, for plugins that read a stream themselves."""

import pytest

from perfbench_plugins.api.default_api import StreamedResponseHandler

ONE, TWO = 'data: {"a": 1}', 'data: {"b": "ü"}'


@pytest.mark.parametrize(
    ("stream", "messages"),
    [
        (f"{ONE}\n\n{TWO}\n\n", [ONE, TWO]),
        (f"{ONE}\r\n\r\n{TWO}\r\n\r\n", [ONE, TWO]),
        (f": ping\n\nid: 1\nevent: token\n{ONE}\n\nretry: 5\n\n", [ONE]),
        ('data: {"a":\ndata:  1}\n\n', ['data: {"a": 1}']),
        ('data:{"a": 1}\n\n', [ONE]),
        (f"{ONE}\n\ndata: [DONE]", [ONE, "data: [DONE]"]),
        (f"{ONE}\n\nevent: end\n{TWO}", [ONE, TWO]),
        (f"{ONE}\n\n{TWO[:-2]}", [ONE]),
        ("data:\n\n", []),
        ("", []),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_it_gives_whole_data_alone_however_the_stream_is_cut(stream: str, messages: list[str], size: int) -> None:
    handler, raw = StreamedResponseHandler(), stream.encode()
    found = [one for start in range(0, len(raw), size) for one in handler.add_chunk(raw[start : start + size])]
    assert found == messages
