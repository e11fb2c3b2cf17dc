"""Who may start, as a table: each row has those who run, those who wait, and who starts."""

import pytest
from bodies import body
from memory import fill

from perfbench_operator.admission import Candidate, Limits, Place, places
from perfbench_operator.admitter import Admitter
from perfbench_operator.cache import Cache
from perfbench_operator.objects.identity import STARTED


def one(name: str, targets: str = "t", *, shared: bool = False, priority: int = 0, namespace: str = "n") -> Candidate:
    """A benchmark; the first letter of its name says how old it is."""
    return Candidate(name, (namespace, name), name[0], priority, frozenset(targets), is_exclusive=not shared)


TABLE: list[tuple[str, list[Candidate], list[Candidate], Limits, str]] = [
    ("nothing runs", [], [one("a")], Limits(), "a"),
    ("the same target", [], [one("b"), one("a")], Limits(), "a"),
    ("its target is taken", [one("x")], [one("a"), one("b", "u")], Limits(), "b"),
    ("mocks of their own", [one("x", "")], [one("a", ""), one("b", "")], Limits(), "ab"),
    ("priority before age", [], [one("a"), one("b", priority=1)], Limits(), "b"),
    ("both share", [one("x", shared=True)], [one("a", shared=True), one("b", shared=True)], Limits(), "ab"),
    ("who shares does not spoil one who does not", [one("x")], [one("a", shared=True)], Limits(), ""),
    ("who does not share waits for those who do", [one("x", shared=True)], [one("a")], Limits(), ""),
    ("nobody overtakes at the same target", [one("x", shared=True)], [one("a"), one("b", shared=True)], Limits(), ""),
    (
        "one of several targets is taken",
        [one("x", "tu")],
        [one("a", "uv"), one("b", "vw"), one("c", "w")],
        Limits(),
        "",
    ),
    (
        "targets that nobody else loads",
        [one("x", "tu")],
        [one("a", "vw"), one("b", "wz"), one("c", "z")],
        Limits(),
        "a",
    ),
    ("so many at most", [one("x", "u")], [one("a"), one("b", "v"), one("c", "w")], Limits(2), "a"),
    ("the limit is reached", [one("x", "u")], [one("a")], Limits(1), ""),
    ("who has to wait anyway takes no place", [one("x")], [one("a"), one("b", "u")], Limits(2), "b"),
    ("in a namespace", [one("x", "u")], [one("a"), one("b", "v", namespace="m")], Limits(0, 1), "b"),
]


@pytest.mark.parametrize(
    ("running", "waiting", "limits", "starts"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_who_starts(running: list[Candidate], waiting: list[Candidate], limits: Limits, starts: str) -> None:
    for order in (waiting, waiting[::-1]):
        found = places(order, running, limits)
        assert "".join(sorted(uid for uid, place in found.items() if place is None)) == starts
        queued = sorted(place.position for place in found.values() if place)
        assert queued == list(range(1, len(waiting) - len(starts) + 1))


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (Place(2, 3, (("n", "a"),)), "place 2 of 3 in the queue; waits for n/a, which has the same target"),
        (Place(1, 1, limit="maxConcurrent: 4"), "place 1 of 1 in the queue; waits for a free place (maxConcurrent: 4)"),
        (
            Place(5, 5, tuple(("n", str(number)) for number in range(5))),
            "place 5 of 5 in the queue; waits for n/0, n/1, n/2 and 2 more, which has the same target",
        ),
    ],
)
def test_a_place_says_whom_it_waits_for(place: Place, message: str) -> None:
    assert place.message == message


def test_of_many_that_come_at_once_one_starts_and_the_next_when_it_is_over() -> None:
    """Also where the cache does not show yet that it has started."""
    cache = Cache()
    bodies = [body(uid=f"u{number}", name=f"b{number}") for number in range(16)]
    fill(cache, "PerfBenchmark", bodies)
    admitter = Admitter(cache, Limits())
    found = [admitter.place(one) for one in bodies]
    assert [place is None for place in found] == [True] + [False] * 15
    assert [place.blockers[0] for place in found if place] == [("models", "b0")] * 15
    cache.put("PerfBenchmark", body(uid="u0", name="b0", resourceVersion="8", status={"phase": "Succeeded"}))
    admitter.forget("u0")
    assert [admitter.place(one) is None for one in bodies[1:]] == [True] + [False] * 14


@pytest.mark.parametrize(
    ("other", "blocks"),
    [
        (body(uid="o", name="o", annotations={STARTED: "o"}), True),
        (body(uid="o", name="o", status={"phase": "Running", "startTime": "2026-11-24T11:00:00Z"}), True),
        (body(uid="o", name="o", annotations={STARTED: "o"}, status={"phase": "Failed"}), False),
        (body({"suspend": True}, uid="o", name="o", creationTimestamp="2026-11-24T11:00:00Z"), False),
        (body({"cancel": True}, uid="o", name="o", creationTimestamp="2026-11-24T11:00:00Z"), False),
        (body(uid="o", name="o", creationTimestamp="2026-11-24T11:00:00Z", annotations={STARTED: "copied"}), False),
        (body(uid="o", name="o", creationTimestamp="2026-11-24T11:00:00Z"), True),
    ],
    ids=["marked as started", "started", "over", "suspended", "cancelled", "restored", "older"],
)
def test_what_a_new_process_knows_is_in_the_cluster(other: dict[str, object], blocks: bool) -> None:
    cache = Cache()
    fill(cache, "PerfBenchmark", [body(), other])
    assert bool(Admitter(cache, Limits()).place(body())) == blocks


@pytest.mark.parametrize(
    ("url", "blocks"), [("http://a:80", True), ("http://b.models", True), ("http://base", False), ("http://c", False)]
)
def test_all_targets_of_a_benchmark_are_its_own(url: str, blocks: bool) -> None:
    targets = [{"name": "a", "url": "http://a"}, {"name": "b", "url": "http://b"}]
    several = {"target": {"url": "http://base", "model": "m"}, "targets": targets}
    cache = Cache()
    fill(
        cache,
        "PerfBenchmark",
        [body(several, uid="o", name="o", annotations={STARTED: "o"}), body({"target": {"url": url}})],
    )
    assert bool(Admitter(cache, Limits()).place(body({"target": {"url": url}}))) == blocks
