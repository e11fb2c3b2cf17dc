"""Which runner of a run this process is. A worker is told by its environment, where the token is, too; all others lead."""

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from secrets import token_hex

from perfbench_api.redaction import KNOWN
from perfbench_api.resource import Spec, SpecError
from perfbench_runner.run.facts import own_version
from perfbench_runner.run.kinds import LISTEN as LISTEN
from perfbench_runner.runners.link import Link
from perfbench_runner.runners.messages import VERSION, Hello

TOKEN = "PERFBENCH_RUN_TOKEN"  # noqa: S105  # the name of a variable
LEADER = "PERFBENCH_LEADER"
"""URL of the leader; only workers have it."""
RUNNER = "PERFBENCH_RUNNER"
"""Number of a worker, from 1."""
INDEX = "JOB_COMPLETION_INDEX"
"""Where Kubernetes numbers the pods of an Indexed Job, from 0."""
NODE = "PERFBENCH_NODE"
SILENCE = "PERFBENCH_RUNNERS_SILENCE_S"
SILENCE_S = 15.0
"""Longer than networks are usually cut for; in a run that waits no longer for a runner that was lost."""


@dataclass(frozen=True)
class Role:
    """A worker."""

    runner: int
    leader: str
    token: str
    node: str
    instance: str = field(default_factory=lambda: token_hex(16))

    def link(self) -> Link:
        """The way to the leader."""
        return Link(self.leader, self.token, self.runner, self.instance)

    def hello(self, spec: Spec) -> Hello:
        """How it reports in."""
        return Hello(
            version=VERSION,
            program=own_version(),
            runner=self.runner,
            instance=self.instance,
            name=platform.node(),
            node=self.node,
            load=load_digest(spec),
        )


def worker_role(env: Mapping[str, str]) -> Role:
    """The worker that this process is to be; raises SpecError where the environment does not say enough."""
    index = env.get(INDEX, "")
    number = env.get(RUNNER) or (str(int(index) + 1) if index.isdecimal() else "")
    if not number.isdecimal() or not int(number):
        raise SpecError([f"{LEADER} is set: this is a worker, and neither {RUNNER} nor {INDEX} says which one"])
    token = env.get(TOKEN, "").strip()
    if not token:
        raise SpecError([f"{TOKEN}: is not set; a worker needs the token of its run"])
    KNOWN.add(token, TOKEN)
    return Role(int(number), env[LEADER], token, env.get(NODE, ""))


def silence_of(env: Mapping[str, str]) -> float:
    """After how many seconds a runner that is not heard of is lost."""
    try:
        return float(env.get(SILENCE) or SILENCE_S)
    except ValueError:
        raise SpecError([f"{SILENCE}: {env[SILENCE]!r} is no number of seconds"]) from None


def load_digest(spec: Spec) -> str:
    """What all runners of a run must have alike: load and weights, but for the seed, which the leader draws."""
    load = spec.load.model_dump(mode="json", exclude={"random_seed"})
    load |= {"workloads": [(each.name, each.weight) for each in spec.workloads]} if spec.workloads else {}
    load |= {"targets": [(each.name, each.weight) for each in spec.targets]} if spec.targets else {}
    return sha256(json.dumps(load, sort_keys=True).encode()).hexdigest()
