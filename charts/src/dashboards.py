"""The three dashboards of the chart. `scripts/generate` writes them to charts/perfbench/dashboards as JSON."""

from operator_board import operator
from results_board import results
from run_board import run

DASHBOARDS = {"run": run, "results": results, "operator": operator}
"""By the names of their files."""
