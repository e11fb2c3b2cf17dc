"""What is made of a measurement besides what the plugin reads."""

import pytest

from perfbench_runner.engine.intake import merged_segments


@pytest.mark.parametrize(
    ("read_together", "gaps_s", "expected"),
    [
        (None, [0.0], None),  # the system does not count segments
        (0, [], 0),
        (3, [0.01, 0.01], 0),  # the head with the first chunk, usage and [DONE] with the last
        (2, [0.0, 0.02, 0.0], 2),
        (1, [0.0, 0.02, 0.0], 1),  # a server that sends several chunks in one segment
        (0, [0.0, 0.0, 0.0], 0),
        (9, [0.0, 0.02], 1),
    ],
)
def test_only_segments_between_chunks_with_content_are_counted_as_merged(
    read_together: int | None, gaps_s: list[float], expected: int | None
) -> None:
    assert merged_segments(read_together, gaps_s) == expected
