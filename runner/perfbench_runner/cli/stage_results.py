"""What `run_perf_benchmark` returns: EvalScope's dict, which a notebook shows as a table and pandas takes."""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

SHOWN = {
    "requests.total": "requests",
    "requests.failed": "failed",
    "request_throughput_rps": "requests/s",
    "output_token_throughput_tps": "output tokens/s",
    "ttft_s.p50": "TTFT p50, s",
    "ttft_s.p99": "TTFT p99, s",
    "itl_s.p50": "ITL p50, s",
    "e2e_latency_s.p99": "E2E p99, s",
    "client.state": "client",
}
"""Columns of the table in a notebook: names as in summary.json, and their headings."""


class StageResults(dict[str, Any]):
    """By stage: `metrics`, `summary` and `outputs_dir`."""

    def rows(self) -> list[dict[str, Any]]:
        """One flat row for each stage: its key, and all single figures by their path in summary.json: `ttft_s.p99`."""
        return [{"stage": key, **dict(_flat(value["metrics"]))} for key, value in self.items()]

    def to_dataframe(self) -> Any:
        """`rows` as a pandas DataFrame, indexed by stage. Needs pandas."""
        import pandas

        return pandas.DataFrame(self.rows()).set_index("stage")

    def _repr_html_(self) -> str:
        """A table for notebooks."""
        rows = self.rows()
        names = [name for name in SHOWN if any(row.get(name) is not None for row in rows)]
        head = "".join(f"<th>{escape(heading)}</th>" for heading in ("stage", *(SHOWN[name] for name in names)))
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(_cell(row.get(name)))}</td>" for name in ("stage", *names)) + "</tr>"
            for row in rows
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: Any) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _flat(figures: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in figures.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif not isinstance(value, list) and f"{prefix}{name}" != "name":
            yield f"{prefix}{name}", value
