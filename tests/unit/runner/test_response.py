"""Which piece of a response came when: with the read that completed it."""

import httptools
import pytest

from perfbench_runner.shard.response import ResponseReader


@pytest.mark.parametrize(
    ("log", "times"),
    [
        ([], []),
        ([None], []),  # the head alone
        ([None, None, None], []),
        ([None, b"ab", None, b"c", None], [2.0, 3.0]),
        ([None, b"ab", None, b"c"], [2.0, 3.0]),  # complete within the last read
        ([b"ab", None, b"c", None], [1.0, 2.0]),  # the head and a piece in one read
        ([b"ab", None], [1.0]),
        ([b"a", b"b", b"c"], [1.0, 1.0, 1.0]),
        (
            [None, b"a", b"b", b"c", None, None, b"d", None],
            [2.0, 2.0, 2.0, 4.0],
        ),  # several in one read, none in another
        ([None, b"a", None, b"b", b"c"], [2.0, 3.0, 3.0]),  # several in the last
        ([None, b"a", None, b"b", None, None], [2.0, 3.0]),  # none in the last
        ([None, None, b"a", None], [3.0]),
        ([None, b"a", b"b", None, b"c"], [2.0, 2.0, 3.0]),
    ],
)
def test_a_piece_has_the_time_of_its_read(log: list[bytes | None], times: list[float]) -> None:
    reader = ResponseReader(Receiver(), 1000)
    reader.log += log
    reads = log.count(None) + (bool(log) and log[-1] is not None)
    body = reader.body([float(number + 1) for number in range(reads)])
    pieces = [entry for entry in log if entry is not None]
    assert (body.data, list(body.times)) == (b"".join(pieces), times)
    assert list(body.ends) == [sum(map(len, pieces[: index + 1])) for index in range(len(pieces))]
    assert body.end_s == reads


@pytest.mark.parametrize("every", [1, 2, 3, 7])
@pytest.mark.parametrize("pieces", [[1], [0, 1, 1], [2, 0, 3, 1, 1], [1] * 20, [0] * 5])
def test_what_is_taken_in_before_the_end_is_the_same_as_at_once(pieces: list[int], every: int) -> None:
    """So many pieces in each read, taken in after every so many reads."""
    at_once, bit_by_bit = ResponseReader(Receiver(), 1000), ResponseReader(Receiver(), 1000)
    for reader, step in ((at_once, len(pieces)), (bit_by_bit, every)):
        for first in range(0, len(pieces), step):
            reads = range(first, min(first + step, len(pieces)))
            for read in reads:
                reader.log += [b"%d%d" % (read, number) for number in range(pieces[read])]
                reader.log.append(None)
            reader.take_in([float(read) for read in reads])
    assert bit_by_bit.size == at_once.size
    whole = at_once.body([])
    assert bit_by_bit.body([]) == whole
    assert (len(whole.ends), len(whole.times), whole.end_s) == (sum(pieces), sum(pieces), len(pieces) - 1)
    assert bit_by_bit.body([]).data == b"", "the next response begins with nothing"


class Receiver:
    def __init__(self) -> None:
        self.heard: list[object] = []

    def response_begun(self) -> None:
        self.heard.append("begun")

    def response_head(self, status: int) -> None:
        self.heard.append(status)

    def response_complete(self) -> None:
        self.heard.append("complete")

    def head_too_large(self) -> None:
        self.heard.append("large")


@pytest.mark.parametrize("size", [1, 3, 5, 16, 1000])
def test_responses_are_read_one_after_the_other_however_they_are_cut(size: int) -> None:
    receiver = Receiver()
    reader = ResponseReader(receiver, 1000)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: Text/Event-Stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    whole = b"HTTP/1.1 100 Continue\r\n\r\n" + head + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    for _ in range(3):
        reader.begin()
        starts = range(0, len(whole), size)
        for start in starts:
            reader.feed(whole[start : start + size])
            reader.log.append(None)
        assert (reader.status, reader.content_type) == (200, "text/event-stream")
        body = reader.body([float(number) for number in range(len(starts))])
        assert (body.data, len(body.times)) == (b"abcde", len(body.ends))
        assert list(body.times) == sorted(body.times)
        assert receiver.heard == ["begun", 100, "begun", 200, "complete"]
        receiver.heard.clear()


def test_what_is_no_error_of_the_parser_is_raised() -> None:
    reader = ResponseReader(Receiver(), 1000)
    with pytest.raises(ZeroDivisionError):
        reader.objection(ZeroDivisionError(), b"")
    assert "another protocol" in reader.objection(httptools.HttpParserUpgrade(0), b"")
