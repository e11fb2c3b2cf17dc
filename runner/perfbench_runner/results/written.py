"""How figures are written for people: in a unit that suits them, never cut short. Pure functions."""

from collections.abc import Iterable

UNITS = {"s": 1.0, "ms": 1e-3, "µs": 1e-6}


def number(value: float | None) -> str:
    """Four digits, and all of a larger whole part: 0.123, 1.235, 12.35, 123.5, 12,346."""
    if value is None:
        return "-"
    size = abs(value)
    if size and size < 0.001:
        return f"{value:.2g}"
    return f"{value:,.{3 if size < 9.9995 else 2 if size < 99.995 else 1 if size < 999.95 else 0}f}"


def unit_of(seconds: Iterable[float | None]) -> str:
    """The largest unit in which none of these times is a fraction, so that none loses digits."""
    least = min((value for value in seconds if value), default=1e-3)
    return next((unit for unit, size in UNITS.items() if least >= size), "µs")


def time_in(unit: str, seconds: float | None) -> str:
    """A time in this unit, which is named elsewhere."""
    return "-" if seconds is None else number(seconds / UNITS[unit])


def time(seconds: float | None) -> str:
    """A time with its unit: 3.002 s, 12.35 ms."""
    if seconds is None:
        return "-"
    unit = unit_of([seconds])
    return f"{time_in(unit, seconds)} {unit}"


def short_time(seconds: float) -> str:
    """A length of time as people say it: 0.4 s, 12 s, 3 min 5 s, 2 h 10 min."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def share(value: float | None) -> str:
    """A share of 1: 12.5 %."""
    return "-" if value is None else f"{value * 100:.3g} %"
