"""Dataset `replay`: an earlier run's requests, with its schedule."""

import base64
import io
import json
import pickle
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from perfbench_plugins.datasets.base import DatasetPluginBase, Item
from perfbench_plugins.datasets.dataset_args import BodyArgs
from perfbench_plugins.datasets.errors import DatasetError
from perfbench_plugins.plain import PlainUnpickler
from perfbench_plugins.registry import register_dataset

FILES = ("results.sqlite", "benchmark_data.db")
"""Where a run keeps its results: ours, EvalScope's."""
NOTHING = base64.b64encode(pickle.dumps(None, 4)).decode()
"""A request that was not kept, for readers that stumble over a null."""


def read_body(text: str | bytes) -> Any:
    """A request as the results file has it: base64 of a pickle, or JSON (EvalScope 1.1.1 to 1.10). Raises ValueError."""
    text = text.decode() if isinstance(text, bytes) else text
    if text.startswith("{"):
        return json.loads(text)
    try:
        body = PlainUnpickler(io.BytesIO(base64.b64decode(text, validate=True))).load()
    except (pickle.UnpicklingError, EOFError, IndexError, KeyError, AttributeError, UnicodeDecodeError) as error:
        raise ValueError(f"it cannot be read: {error}") from None
    return json.loads(body) if isinstance(body, (str, bytes)) else body


class ReplayArgs(BodyArgs):
    """Options of replay."""

    stage: int | str | None = None
    """Number (from 0) or name of the stage to replay; all of them, one after the other, if not given."""


@register_dataset("replay")
class ReplayDatasetPlugin(DatasetPluginBase):
    """Every request of a results.sqlite (or of the run's folder), sent when it was due then; warm-up is left out."""

    args_schema = ReplayArgs
    provides_arrival_schedule = True
    requires_model = False

    def build_messages(self) -> Iterator[Any]:
        """One Item for each request, in the order of its schedule."""
        path, speed = self._path(), self.dataset_args.speed
        try:
            with closing(
                sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False)
            ) as db:
                yield from (self._item(path, row, start_s, speed) for start_s, row in self._rows(db, path))
        except sqlite3.Error as error:
            raise DatasetError(f"dataset.path: {str(path)!r} is no results file: {error}") from None

    def _path(self) -> Path:
        given = self.query_parameters.dataset_path
        if not given:
            raise DatasetError("dataset.path: missing; replay reads the results.sqlite of an earlier run")
        path = Path(given)
        if path.is_dir():
            path = next((path / name for name in FILES if (path / name).exists()), path / FILES[0])
        if not path.exists():
            raise DatasetError(f"dataset.path: cannot read {str(path)!r}: there is no such file")
        return path

    def _rows(self, db: sqlite3.Connection, path: Path) -> Iterator[tuple[float, sqlite3.Row]]:
        db.row_factory = sqlite3.Row
        columns = {row["name"] for row in db.execute("PRAGMA table_info(result)")}
        if not {"request", "start_time"} <= columns:
            raise DatasetError(f"dataset.path: {str(path)!r} has no table `result` with requests")
        time = "coalesce(scheduled_time, start_time)" if "scheduled_time" in columns else "start_time"
        where, values = self._condition(db, columns)
        count, missing, start_s = db.execute(
            f"SELECT count(*), sum(request IS NULL OR request = '{NOTHING}'), min({time}) FROM result WHERE {where}",  # noqa: S608  # our names
            values,
        ).fetchone()
        if not count:
            raise DatasetError(f"dataset.path: {str(path)!r} holds no requests to replay")
        if missing:
            raise DatasetError(
                f"dataset.path: {missing} of {count} requests in {str(path)!r} were stored without their bodies;"
                " only a run with results.messages `all` can be replayed"
            )
        chosen = f"SELECT request, request_id, {time} AS time FROM result WHERE {where} ORDER BY {time}, rowid"  # noqa: S608  # our names
        if "request_id" not in columns:
            chosen = chosen.replace("request_id,", "NULL AS request_id,")
        for row in db.execute(chosen, values):
            yield start_s, row

    def _condition(self, db: sqlite3.Connection, columns: set[str]) -> tuple[str, list[Any]]:
        stage = self.dataset_args.stage
        if "stage" not in columns:
            if stage is not None:
                raise DatasetError("dataset.args.stage: this results file knows no stages; leave it out")
            return "TRUE", []
        if stage is None:
            return "coalesce(stage, 0) >= 0", []
        if isinstance(stage, str):
            names = {row["name"]: row["stage"] for row in db.execute("SELECT stage, name FROM stage")}
            if stage not in names:
                raise DatasetError(f"dataset.args.stage: no stage is named {stage!r}; there are {', '.join(names)}")
            stage = names[stage]
        return "stage = ?", [stage]

    def _item(self, path: Path, row: sqlite3.Row, start_s: float, speed: float) -> Item:
        try:
            body = read_body(row["request"])
            if not isinstance(body, dict):
                raise TypeError(f"it is a {type(body).__name__}, no object")
        except (ValueError, TypeError) as error:
            raise DatasetError(f"dataset.path: a request in {str(path)!r}: {error}") from None
        model = self.dataset_args.send_to(body.get("model"))
        body = {**body, "model": model} if model is not None else body
        return Item(body, (row["time"] - start_s) / speed, request_id=row["request_id"])
