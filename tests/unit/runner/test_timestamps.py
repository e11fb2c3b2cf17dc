"""Arrivals from a file: its earliest time is the beginning; what is no time is named with its row."""

import gzip
from pathlib import Path

import pytest

from perfbench_api.sections import Timestamps
from perfbench_plugins.datasets.errors import DatasetError
from perfbench_runner.load.timestamps import read_timestamps


def read(folder: Path, name: str, text: str, **values: object) -> list[float]:
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return read_timestamps(Timestamps.model_validate({"path": str(path), **values}))


@pytest.mark.parametrize(
    ("name", "text", "values", "times"),
    [
        ("a.csv", "timestamp\n100\n100.5\n103\n", {}, [0, 0.5, 3]),
        ("a.csv", "timestamp\n103\n100\n100.5\n", {}, [0, 0.5, 3]),
        ("a.csv", "timestamp\n100\n", {}, [0]),
        ("a.csv", "user,at\nx,1\ny,3\n", {"column": "at"}, [0, 2]),
        ("a.csv", "timestamp\n1000\n3500\n", {"unit": "ms"}, [0, 2.5]),
        ("a.csv", "timestamp\n0\n30\n", {"speed": 10}, [0, 3]),
        ("a.csv", "TIMESTAMP\n2023-11-16 18:15:46.680590\n2023-11-16 18:15:50.680590\n", {"column": "TIMESTAMP"}, [0, 4]),
        ("a.csv", "timestamp\n2023-11-16T18:00:00Z\n2023-11-16T18:00:02Z\n", {"unit": "ms"}, [0, 2]),
        ("a.jsonl", '{"timestamp": 5}\n{"timestamp": 8.5}\n', {}, [0, 3.5]),
        ("a.csv.gz", "timestamp\n1\n2\n", {}, [0, 1]),
    ],
)  # fmt: skip
def test_times_are_offsets_from_the_earliest(
    tmp_path: Path, name: str, text: str, values: dict[str, object], times: list[float]
) -> None:
    assert read(tmp_path, name, text, **values) == pytest.approx(times)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("when\n1\n", "load.stages.timestamps.column: '{path}' has no column 'timestamp'; there are when"),
        ("timestamp\n1\nsoon\n", "load.stages.timestamps: '{path}', row 2: 'soon' is no timestamp"),
        ("timestamp\n1\nnan\n3\n", "load.stages.timestamps: '{path}', row 2: 'nan' is no time"),
        ("timestamp\n-inf\n3\n", "load.stages.timestamps: '{path}', row 1: '-inf' is no time"),
        (
            "timestamp\n1e308\n-1e308\n",
            "load.stages.timestamps.path: '{path}' has times from -1e+308 to 1e+308 s, too far",
        ),
        ("timestamp\n", "load.stages.timestamps.path: '{path}' has no rows"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DatasetError) as caught:
        read(tmp_path, "a.csv", text)
    assert str(caught.value).startswith(message.format(path=tmp_path / "a.csv"))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"^load\.stages\.timestamps\.path: .*none\.csv"):
        read_timestamps(Timestamps(path=str(tmp_path / "none.csv")))
