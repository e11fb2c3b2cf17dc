"""EvalScope's own readers on results files, run by an environment with EvalScope: `python readers.py FILE …`.

Prints what each of them says of each file, or how it fails.
"""

import contextlib
import io
import json
import logging
import pathlib
import shutil
import sys
import tempfile


def percentiles(file):
    from evalscope.perf.utils.db_util import get_percentile_results

    return get_percentile_results(str(file)).to_list()


def handoffs(file):
    from evalscope.perf.utils.db_util import get_percentile_results

    return get_percentile_results(str(file), enable_pd_metrics=True).to_list()


def embedding(file):
    from evalscope.perf.utils.db_util import get_percentile_results

    return get_percentile_results(str(file), api_type="openai_embedding").to_list()


def speed(file):
    from evalscope.perf.utils.db_util import speed_benchmark_result

    speed_benchmark_result(str(file))
    return json.loads((file.parent / "speed_benchmark.json").read_text())


def loader(file):
    """The reader of its HTML report and of its web service: it takes a folder by its name."""
    from evalscope.perf.utils.report.perf_data import RunLoader

    folder = file.parent / "parallel_2_number_6"
    folder.mkdir()
    shutil.copy(file, folder / "benchmark_data.db")
    (run,) = RunLoader.load_all(str(file.parent))
    page, total = RunLoader.query_requests(str(folder), status="success", offset=0, limit=3)
    return {
        "requests": len(run.requests),
        "page": len(page),
        "succeeded": total,
        "counts": RunLoader.count_request_samples(str(folder)),
        "ttft_ms": [one.first_chunk_latency for one in page],
    }


def script(name):
    """A documented analysis script, with the file's place in it and every row selected."""

    def run(file):
        import evalscope.perf

        here = pathlib.Path(__file__).parents[1] / "data" / "seed" / "analysis.py"
        place = here if name == "seed" else pathlib.Path(evalscope.perf.__path__[0]) / "utils" / "analysis_result.py"
        text = (
            place.read_text()
            .replace("your db path", str(file))
            .replace("first_chunk_latency > 1", "first_chunk_latency >= 0")
        )
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(text, str(place), "exec"), {})
        return out.getvalue().count("request_id: ")

    return run


READERS = {
    "percentiles": percentiles,
    "handoffs": handoffs,
    "embedding": embedding,
    "speed": speed,
    "loader": loader,
    "seed script": script("seed"),
    "newest script": script("newest"),
}


def main(files):
    found = {}
    for file in map(pathlib.Path, files):
        for name, read in READERS.items():
            with tempfile.TemporaryDirectory() as folder:
                copy = pathlib.Path(folder) / file.name
                shutil.copy(file, copy)
                try:
                    said = read(copy)
                except Exception as error:  # noqa: BLE001  # it is what is asked
                    said = {"error": f"{type(error).__name__}: {error}"}
            found[f"{file.parent.name}: {name}"] = said
    print(json.dumps(found))


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    main(sys.argv[1:])
