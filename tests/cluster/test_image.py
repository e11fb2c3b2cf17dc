"""What the runner's default image can do without a plugin, a further package or a hub."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

from benchmarks import benchmark, condition, installed, restricted_namespace, results, until
from kube import Cluster, Namespace

BODY = """
{"model": {{ model | tojson }}, "stream": {{ stream | tojson }}, "max_tokens": {{ max_tokens }},
 "messages": [{"role": "user", "content": {{ prompt | tojson }}}]}
"""
TEMPLATE = {"body": BODY, "path": "/v1/chat/completions", "content": "choices[0].delta.content"}


def tokenizer() -> str:
    """The tokenizer.json of a model that knows words: each is one token."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = Tokenizer(models.WordLevel({"[UNK]": 0, "zebra": 1, "river": 2}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    text: str = words.to_str()
    return text


def parquet(rows: list[dict[str, Any]]) -> bytes:
    import pyarrow as pa
    from pyarrow.parquet import write_table

    file = io.BytesIO()
    write_table(pa.Table.from_pylist(rows), file, compression="zstd")
    return file.getvalue()


def arrow(rows: list[dict[str, Any]]) -> bytes:
    import pyarrow as pa

    file, table = io.BytesIO(), pa.Table.from_pylist(rows)
    with pa.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table)
    return file.getvalue()


def test_tokenizer_template_parquet_and_arrow_work_as_documented(
    cluster: Cluster, namespace: Namespace, tmp_path: Path
) -> None:
    rows = [{"question": "zebra river zebra"}, {"question": "zebra"}]  # the second one is shorter than two tokens
    files = {"rows.parquet": parquet(rows), "rows.arrow": arrow(rows)}
    data = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "data"},
        "data": {"tokenizer.json": tokenizer()},
        "binaryData": {name: base64.b64encode(content).decode() for name, content in files.items()},
    }

    def asks(name: str, file: str) -> dict[str, Any]:
        dataset = {
            "name": "file",
            "configMap": {"name": "data"},
            "path": file,
            "args": {"prompt": "question"},
            "tokenizerPath": "/data/tokenizer.json",
            "minPromptLength": 2,
        }
        target = {"mock": {"ttft": "5ms", "itl": "1ms"}, "api": "template", "apiArgs": TEMPLATE}
        return benchmark(name, target, dataset=dataset, load={"stages": [{"concurrency": 1, "requests": 4}]})

    with (
        restricted_namespace(cluster) as home,
        installed(cluster, home, tmp_path, namespaces=[namespace.name], rbac={"aggregate": False}),
    ):
        namespace.apply(data, asks("parquet", "rows.parquet"), asks("arrow", "rows.arrow"))
        for name in ("parquet", "arrow"):
            found = until(namespace, name, "Succeeded")
            assert condition(found, "ResultsStored")[0] == "True"
            sent = results(namespace, found)["requests"]
            assert sent.count("zebra river zebra") == 4, "prompts are counted in tokens, and the short one is left out"
