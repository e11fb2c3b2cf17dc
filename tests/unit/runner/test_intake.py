"""What is made of a measurement besides what the plugin reads."""

import pytest

from perfbench_plugins.exchange import Exchange
from perfbench_runner.engine.intake import merged_segments


@pytest.mark.parametrize(
    ("read_together", "delay_s", "gaps_s", "expected"),
    [
        (None, 0.1, [0.0], None),  # the system does not count segments
        (0, 0.1, [], 0),
        (3, 0.1, [0.01, 0.01], 0),  # the head with the first chunk, usage and [DONE] with the last
        (2, 0.1, [0.0, 0.02, 0.0], 2),
        (1, 0.1, [0.0, 0.02, 0.0], 1),  # a server that sends several chunks in one segment
        (0, 0.1, [0.0, 0.0, 0.0], 0),
        (9, 0.1, [0.0, 0.02], 1),
        (9, 0.0001, [0.0, 0.0], 0),  # a server that sends several segments at once to a client that is there
    ],
)
def test_only_segments_that_can_have_a_wrong_time_are_counted_as_merged(
    read_together: int | None, delay_s: float, gaps_s: list[float], expected: int | None
) -> None:
    wire = Exchange(merged_segments=read_together, read_delay_s=delay_s, stamps_by="kernel")
    assert merged_segments(wire, gaps_s) == expected


def test_by_the_programs_clock_nobody_knows_how_late_a_read_was() -> None:
    assert merged_segments(Exchange(merged_segments=2, stamps_by="program"), [0.0, 0.0]) == 2
