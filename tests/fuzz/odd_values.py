"""How much is tried. The suite tries the same examples every time; PERFBENCH_FUZZ=50 tries 50 times as many, new ones.

What a longer search found is kept beside its test as an `@example`.
"""

import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

TIMES = int(os.environ.get("PERFBENCH_FUZZ", "0"))


def tries(count: int) -> Callable[[Any], Any]:
    """Decorator: so many examples in the suite, always the same."""
    return settings(
        max_examples=count * max(1, TIMES),
        derandomize=not TIMES,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.integers(-3, 5),
    st.floats(allow_nan=True, allow_infinity=True),
    st.text(max_size=12),
    st.sampled_from(["", "0", "-1", "1e400", "5ms", "1%", "\x00", "\ud800", "null", "[DONE]", "${A}", "x" * 300]),
)
JUNK = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    max_leaves=6,
)
"""Anything that JSON or YAML can hold, and a little more."""
