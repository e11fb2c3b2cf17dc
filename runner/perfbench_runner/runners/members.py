"""The runners of a run as the leader knows them: who is there, who is ready, who was lost. No network, no clock of its own."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from perfbench_runner.engine.settling import with_more
from perfbench_runner.observe.told import RunnerFigures
from perfbench_runner.results.stage_rows import Cell, Held, is_of_its_kind
from perfbench_runner.runners.messages import Beat, FileDone, Hello, Rows

State = Literal["expected", "here", "leaving", "delivered", "lost"]


class RefusedError(Exception):
    """What a worker asks for is not possible: an HTTP status, and why."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass
class Received:
    """Rows of a stage of a search, as far as they are here."""

    stage: int = -1
    requests: list[list[Cell]] = field(default_factory=list)
    unsent: list[Held] = field(default_factory=list)
    is_whole: bool = False

    def take(self, said: Rows) -> None:
        """Some more of them; those that were said before count once. Raises RefusedError where there would be a gap."""
        if said.stage > self.stage:
            self.stage, self.requests, self.unsent, self.is_whole = said.stage, [], [], False
        if said.stage < self.stage or said.first < len(self.requests) + len(self.unsent) or self.is_whole:
            return
        if said.first > len(self.requests) + len(self.unsent) or not is_of_its_kind(said.requests):
            raise RefusedError(
                409, f"there are {len(self.requests) + len(self.unsent)} rows of stage {said.stage} here"
            )
        self.requests += said.requests
        self.unsent += said.unsent
        self.is_whole = said.is_last


@dataclass
class Member:
    """A worker."""

    number: int
    state: State = "expected"
    instance: str = ""
    name: str = ""
    node: str = ""
    heard_s: float = 0.0
    """When it was last heard of, by the leader's clock."""
    ready_for: int | None = None
    """The stage that it is ready for."""
    beats: int = -1
    """Number of its latest beat."""
    told: dict[int, RunnerFigures] = field(default_factory=dict)
    """Its live figures, by stage."""
    latest: RunnerFigures = field(default_factory=RunnerFigures)
    rows: Received = field(default_factory=Received)
    """What it has handed over of the stage of a search that was over last."""
    why: str = ""
    """Why it is lost, or leaving."""
    done: FileDone | None = None
    file: Path | None = None
    """Its results, whole."""

    @property
    def title(self) -> str:
        """For people: runner 2, pod bench-x7k2p on node worker-3."""
        where = " on node ".join(filter(None, (self.name, self.node)))
        return f"runner {self.number}{f', {where}' if where else ''}"

    def take(self, beat: Beat) -> None:
        """Remember what it tells; of stages that are over no more than Prometheus is told of."""
        if beat.number <= self.beats:
            return
        self.beats = beat.number
        for stage in [stage for stage in self.told if stage < beat.stage]:
            self.told[stage] = RunnerFigures(requests=self.told[stage].requests, stage=self.told[stage].stage)
        before, self.latest = self.told.get(beat.stage, RunnerFigures()), beat.figures
        settled = with_more(before.settled, beat.figures.settled)
        self.told[beat.stage] = beat.figures.model_copy(update={"settled": settled})

    def figures(self, stage: int) -> RunnerFigures:
        """What is known of its part of a stage; of one that it has told nothing of yet, what it has used up before."""
        spent = self.latest.tally.model_copy(update={"ended": 0, "failed": 0})
        told = self.told.get(stage) or RunnerFigures(tally=spent)
        if not self.is_gone:
            return told
        return told.model_copy(update={"settled": told.settled.model_copy(update={"until_s": float("inf")})})

    @property
    def is_prepared(self) -> bool:
        """Whether it has told anything since it reported in."""
        return self.beats >= 0

    @property
    def is_gone(self) -> bool:
        """Whether nothing more is to be expected of it."""
        return self.state in ("lost", "delivered")


class Members:
    """All workers of a run."""

    def __init__(self, runners: int, silence_s: float) -> None:
        self.all = {number: Member(number) for number in range(1, runners)}
        self.silence_s = silence_s

    def take(self, hello: Hello, now_s: float) -> Member:
        """A worker reports in, maybe once more; raises RefusedError where another one is in its place."""
        member = self.all.get(hello.runner)
        if member is None:
            raise RefusedError(409, f"there is no runner {hello.runner}: the run has {len(self.all) + 1}")
        if member.instance not in ("", hello.instance):
            raise RefusedError(409, f"{member.title} has reported in before: a run cannot be joined once it was left")
        if member.state == "lost":
            raise RefusedError(410, f"runner {hello.runner} was given up: {member.why}")
        if member.state == "expected":
            member.state = "here"
        member.instance, member.name, member.node, member.heard_s = hello.instance, hello.name, hello.node, now_s
        return member

    def of(self, number: int, instance: str, now_s: float) -> Member:
        """The worker that says something; raises RefusedError where it is none of the run, or no longer one."""
        member = self.all.get(number)
        if member is None or member.state == "expected" or member.instance != instance:
            raise RefusedError(409, f"runner {number} has not reported in, or another process has in its place")
        if member.state == "lost":
            raise RefusedError(410, f"{member.title} was given up: {member.why}")
        member.heard_s = now_s
        return member

    @property
    def missing(self) -> list[Member]:
        """Those that never reported in, or still prepare: who loads a dataset or a tokenizer says nothing meanwhile."""
        return [
            member
            for member in self.all.values()
            if member.state == "expected" or (member.state == "here" and not member.is_prepared)
        ]

    def silent(self, now_s: float) -> list[Member]:
        """Those that were not heard of for too long."""
        return [
            member
            for member in self.all.values()
            if member.state in ("here", "leaving") and member.is_prepared and now_s - member.heard_s > self.silence_s
        ]

    def lose(self, member: Member, why: str) -> None:
        """Give a worker up."""
        member.state, member.why = "lost", why

    def are_ready(self, stage: int) -> bool:
        """Whether all that will take part in a stage are ready for it."""
        return all(member.ready_for == stage for member in self.all.values() if member.state in ("expected", "here"))

    def have_told_rows(self, stage: int) -> bool:
        """Whether all that are here have handed over their rows of a stage of a search."""
        return all(
            member.rows.stage == stage and member.rows.is_whole for member in self.all.values() if not member.is_gone
        )

    @property
    def have_delivered(self) -> bool:
        """Whether nothing more is to be expected of anybody."""
        return all(member.is_gone for member in self.all.values())
