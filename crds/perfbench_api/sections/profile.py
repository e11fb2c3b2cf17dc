"""`spec.load.stages[].profile` and `.timestamps`: open loops whose rate changes, or whose times are in a file."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from perfbench_api.values import Duration, Section, Unit

Rate = Annotated[float, Unit("requests/s")]


class Ramp(Section):
    """From one rate to another, evenly; the last rate stays."""

    start: Rate = Field(alias="from", ge=0)
    """Rate at the beginning."""
    to: Rate = Field(ge=0)
    """Rate at the end."""
    over: Duration | None = Field(None, gt=0)
    """How long it takes; all of the stage's duration if not given."""


class Steps(Section):
    """From one rate to another in equal steps, each held equally long; the last rate stays."""

    start: Rate = Field(alias="from", ge=0)
    """Rate of the first step."""
    to: Rate = Field(ge=0)
    """Rate of the last step."""
    steps: int = Field(ge=2, le=1000)
    """How many steps."""
    each: Duration | None = Field(None, gt=0)
    """How long each is held; an equal part of the stage's duration if not given."""


class Sine(Section):
    """A rate that swings about its mean, rising first: days and nights."""

    mean: Rate = Field(gt=0)
    """The mean rate."""
    amplitude: Rate = Field(gt=0)
    """How far it swings up and down; at most the mean."""
    period: Duration = Field(gt=0)
    """How long one swing takes."""

    @model_validator(mode="after")
    def _is_never_negative(self) -> Self:
        if self.amplitude > self.mean:
            raise ValueError(f"amplitude {self.amplitude:g} is above mean {self.mean:g}; the rate would be negative")
        return self


class Burst(Section):
    """A low rate that jumps to a peak, once or again and again."""

    base: Rate = Field(ge=0)
    """Rate between bursts."""
    peak: Rate = Field(gt=0)
    """Rate within a burst."""
    at: Duration = 0.0
    """When the first burst begins."""
    length: Duration = Field(alias="for", gt=0)
    """How long a burst lasts."""
    every: Duration | None = Field(None, gt=0)
    """From the beginning of one burst to that of the next; one burst only if not given."""

    @model_validator(mode="after")
    def _ends_before_the_next(self) -> Self:
        if self.every is not None and self.every <= self.length:
            raise ValueError("every is no longer than for, so that a burst would not end before the next one")
        return self


class Point(Section):
    """A point of a rate over time."""

    at: Duration
    """When, from the beginning of the stage."""
    rate: Rate = Field(ge=0)
    """The rate then."""


class Profile(Section):
    """A rate over time: exactly one of its fields."""

    ramp: Ramp | None = None
    """From one rate to another, evenly."""
    steps: Steps | None = None
    """From one rate to another in steps."""
    sine: Sine | None = None
    """Swinging about a mean."""
    burst: Burst | None = None
    """A low rate with bursts."""
    points: list[Point] | None = Field(None, min_length=2, max_length=1000)
    """Points between which the rate is interpolated; two at the same time are a jump, and the last rate stays."""

    @model_validator(mode="after")
    def _one_shape(self) -> Self:
        if len(self.model_dump(exclude_none=True)) != 1:
            raise ValueError("give exactly one of ramp, steps, sine, burst and points")
        if self.points is not None:
            times = [point.at for point in self.points]
            if times != sorted(times):
                raise ValueError("points: one is earlier than the point before it; sort them by at")
            if times[0] != 0:
                raise ValueError("points: the first is not at 0s, so that the rate before it is not known")
        return self

    @property
    def is_nothing(self) -> bool:
        """Whether it never sends anything."""
        rates = [point.rate for point in self.points or ()]
        rates += [rate for shape in (self.ramp, self.steps) if shape for rate in (shape.start, shape.to)]
        return bool(rates) and not any(rates)

    @property
    def needs_duration(self) -> bool:
        """Whether its length is that of the stage."""
        return (self.ramp is not None and self.ramp.over is None) or (
            self.steps is not None and self.steps.each is None
        )

    @property
    def title(self) -> str:
        """Which shape it is."""
        return next(iter(self.model_dump(exclude_none=True)))


class Timestamps(Section):
    """Times of arrivals in a file of their own, whatever is sent."""

    path: str = Field(min_length=1)
    """A file with a time in each row: CSV, JSONL or Parquet, .gz too; the earliest is when the stage begins."""
    column: str = "timestamp"
    """Column with the time: a number, or text in ISO 8601."""
    unit: Literal["s", "ms"] = "s"
    """Unit of numbers."""
    speed: float = Field(1.0, gt=0)
    """How many times faster than in the file."""
