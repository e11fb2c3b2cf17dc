"""Latencies of simulated servers, whose requests depend on each other as those of real ones do; for bench/coverage.py."""

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from perfbench_runner.results.quantiles import Array

Draw = Callable[[int, np.random.Generator], Array]
"""Latencies of so many requests, in the order in which they began."""


def independent(count: int, rng: np.random.Generator) -> Array:
    """Lognormal latencies."""
    found: Array = np.exp(0.5 * rng.standard_normal(count))
    return found


def autocorrelated(phi: float) -> Draw:
    """The same, each one close to the one before: AR(1) in the logarithm."""

    def draw(count: int, rng: np.random.Generator) -> Array:
        steps = rng.standard_normal(count) * np.sqrt(1 - phi * phi)
        value, found = float(rng.standard_normal()), np.empty(count)
        for index, step in enumerate(steps.tolist()):
            value = phi * value + step
            found[index] = value
        return np.asarray(np.exp(0.5 * found))

    return draw


def queue(load: float, places: int = 8, begin: int = 3000) -> Draw:
    """Poisson arrivals at a server with several places, lognormal service times of CV 1; time from arrival to end."""

    def draw(count: int, rng: np.random.Generator) -> Array:
        total = count + begin
        arrivals = np.cumsum(rng.exponential(1.0 / (places * load), total)).tolist()
        sigma = np.sqrt(np.log(2.0))
        services = rng.lognormal(-sigma * sigma / 2, sigma, total).tolist()
        free, found = [0.0] * places, np.empty(total)
        for index, (arrival, service) in enumerate(zip(arrivals, services, strict=True)):
            end = max(arrival, free[0]) + service
            heapq.heapreplace(free, end)
            found[index] = end - arrival
        return found[begin:]

    return draw


@dataclass
class _Work:
    """The requests of one simulation, by number."""

    starts: list[float]
    """Of those that have begun, or will."""
    prompts: list[int]
    answers: list[int]
    firsts: list[float]
    ends: list[float]
    arrived: int = 0
    done: int = 0
    waiting: deque[int] = field(default_factory=deque)
    reading: list[list[int]] = field(default_factory=list)
    """Prompts that are being read: number, tokens left to read."""
    running: list[list[int]] = field(default_factory=list)
    """Answers that are being made: number, tokens left to make."""

    def arrive(self, now: float) -> bool:
        """Take those that have come by now; whether there is anything to do."""
        while self.arrived < len(self.starts) and self.starts[self.arrived] <= now:
            self.waiting.append(self.arrived)
            self.arrived += 1
        return bool(self.waiting or self.running or self.reading)

    def read(self, places: int, tokens: int) -> int:
        """Let those that wait into the batch, and read as much of their prompts as a step may: tokens that were read."""
        while self.waiting and len(self.running) + len(self.reading) < places:
            number = self.waiting.popleft()
            self.reading.append([number, self.prompts[number]])
        left = tokens
        for prompt in self.reading:
            taken = min(left, prompt[1])
            prompt[1] -= taken
            left -= taken
            if not left:
                break
        return tokens - left

    def step(self, now: float) -> int:
        """A step is over: a token more of each answer, the first of those whose prompt was read; how many ended."""
        ended = 0
        for sequence in self.running:
            sequence[1] -= 1
            if not sequence[1]:
                self.ends[sequence[0]] = now
                ended += 1
        if ended:
            self.running = [sequence for sequence in self.running if sequence[1]]
            self.done += ended
        while self.reading and not self.reading[0][1]:
            number = self.reading.pop(0)[0]
            self.firsts[number] = now
            self.running.append([number, self.answers[number] - 1])
        return ended


class Batching:
    """Continuous batching: at most 32 sequences, a step takes 8 ms, more for each of them and each prompt token it reads.

    An open loop with Poisson arrivals at a share of what it carries, or a closed loop of so many clients.
    """

    BATCH, STEP_S, EACH_S, TOKEN_S, MOST_TOKENS = 32, 0.008, 0.00025, 0.00005, 2048
    PROMPT, ANSWER = 500.0, 100.0

    def __init__(self, utilisation: float | None = 0.78, clients: int = 48, begin: int = 500) -> None:
        per_request_s = self.ANSWER * (self.STEP_S / self.BATCH + self.EACH_S) + self.PROMPT * self.TOKEN_S
        self._rate = None if utilisation is None else utilisation / per_request_s
        self._clients, self._begin = clients, begin

    def run(self, count: int, rng: np.random.Generator) -> tuple[Array, Array, Array]:
        """Times of start, first token and end of so many requests, in order of start; seconds."""
        total = count + self._begin
        work = self._work(total, rng)
        noise = (1.0 + 0.05 * rng.standard_normal(4096)).tolist()
        now, steps = 0.0, 0
        while work.done < total:
            if not work.arrive(now):
                now = work.starts[work.arrived]
                continue
            read = work.read(self.BATCH, self.MOST_TOKENS)
            busy = len(work.running) + len(work.reading)
            now += (self.STEP_S + self.EACH_S * busy + self.TOKEN_S * read) * noise[steps & 4095]
            steps += 1
            ended = work.step(now)
            if self._rate is None:
                work.starts += [now] * min(ended, total - len(work.starts))
        span = slice(self._begin, total)
        return np.array(work.starts[span]), np.array(work.firsts[span]), np.array(work.ends[span])

    def _work(self, total: int, rng: np.random.Generator) -> _Work:
        sigma = np.sqrt(np.log(2.0))
        prompts, answers = rng.lognormal(-sigma * sigma / 2, sigma, (2, total))
        starts = [0.0] * self._clients
        if self._rate is not None:
            starts = np.cumsum(rng.exponential(1.0 / self._rate, total)).tolist()
        return _Work(
            starts,
            np.maximum(1, self.PROMPT * prompts).astype(int).tolist(),
            np.maximum(2, self.ANSWER * answers).astype(int).tolist(),
            [0.0] * total,
            [0.0] * total,
        )

    def ttft(self, count: int, rng: np.random.Generator) -> Array:
        """Times to first token."""
        starts, firsts, _ = self.run(count, rng)
        return firsts - starts

    def e2e(self, count: int, rng: np.random.Generator) -> Array:
        """Times to the end."""
        starts, _, ends = self.run(count, rng)
        return ends - starts
