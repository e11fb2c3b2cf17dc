"""Runs plugin files with EvalScope, or with perfbench where that is not installed: the same program for both.

    python drive.py SERVER_URL FOLDER OUT.json [CASE …]

Writes, for each case, what the endpoint got and what is stored of it.
"""

import importlib.util
import json
import os
import pathlib
import sqlite3
import sys
import traceback
import urllib.request

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE))

from cases import CASES, prepare  # noqa: E402

IS_OURS = importlib.util.find_spec("evalscope") is None
if IS_OURS:
    import perfbench_plugins  # noqa: F401
COLUMNS = (
    "success is_stream latency first_chunk_latency inter_token_latencies prompt_tokens completion_tokens request_id"
).split()


def load(name):
    path = HERE / "plugins" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"contract_{name}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)


def rows(folder):
    (file,) = folder.rglob("results.sqlite" if IS_OURS else "benchmark_data.db")
    with sqlite3.connect(file) as db:
        where = " WHERE stage >= 0" if IS_OURS else ""
        found = db.execute(f"SELECT {', '.join(COLUMNS)} FROM result{where}").fetchall()
    db.close()
    return [dict(zip(COLUMNS, row, strict=True)) for row in found]


def run(case, url, tokenizer, folder):
    from evalscope.perf.arguments import Arguments
    from evalscope.perf.main import run_perf_benchmark

    if case.get("plugin"):
        load(case["plugin"])
    values = prepare(case, url, tokenizer, folder)
    arguments = Arguments(
        **{
            "model": "m",
            "number": 6,
            "parallel": 2,
            "max_tokens": 5,
            "no_test_connection": True,
            "outputs_dir": str(folder / "outputs"),
            **values,
        }
    )
    try:
        run_perf_benchmark(arguments)
    except RuntimeError as error:  # ours says so where most requests failed; EvalScope says nothing
        print(error)
    with urllib.request.urlopen(f"{url}/requests") as answer:
        requests = json.load(answer)
    return {"requests": requests, "rows": rows(folder / "outputs")}


def main(url, folder, out, *names):
    found = {}
    for name, case in CASES.items():
        if names and name not in names:
            continue
        place = pathlib.Path(folder) / name
        place.mkdir(parents=True)
        os.chdir(place)
        try:
            found[name] = run(case, url, HERE / "tokenizer", place)
        except Exception as error:  # noqa: BLE001  # one case must not end the others
            traceback.print_exc()
            found[name] = {"error": f"{type(error).__name__}: {error}"}
            urllib.request.urlopen(f"{url}/requests").close()
    pathlib.Path(out).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
