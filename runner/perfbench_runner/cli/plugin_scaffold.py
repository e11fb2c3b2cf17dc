"""The files that `perfbench plugins new` writes: a plugin that works, and its test."""

import re
from pathlib import Path

from perfbench_plugins.registry import PluginError

API = '''\
"""API `{name}`. Run it: perfbench run --plugin {file} --api {name} --url http://host/v1/chat/completions --model NAME"""

from typing import Any

from perfbench_plugins.api.base import BaseApiArgs
from perfbench_plugins.api.default_api import DefaultApiPlugin
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.registry import register_api


class {class_name}Args(BaseApiArgs):
    """Options, given as `--api-args '{{"system": "…"}}'` or `target.apiArgs`."""

    system: str | None = None
    """A system message that is put before every request."""


@register_api("{name}")
class {class_name}Api(DefaultApiPlugin):
    """JSON or server-sent events over HTTP. Answers not shaped like OpenAI's: override read_message as well."""

    suffix = "chat/completions"  # added to a URL that has no path
    args_schema = {class_name}Args

    def build_request(self, messages: Any, param: Arguments | None = None) -> dict[str, Any]:
        """The request's body."""
        param = param or self.param
        if isinstance(messages, str):
            messages = [{{"role": "user", "content": messages}}]
        if self.api_args.system:
            messages = [{{"role": "system", "content": self.api_args.system}}, *messages]
        body = {{"model": param.model, "messages": messages, "max_tokens": param.max_tokens, "stream": param.stream}}
        if param.stream:
            body["stream_options"] = {{"include_usage": True}}
        return {{**body, **(param.extra_args or {{}})}}

    def parse_responses(self, responses: list[Any], request: str | None = None, **kwargs: Any) -> tuple[int, int]:
        """Prompt and completion tokens: as the server reports them, else estimated."""
        for message in reversed(responses):
            usage = message.get("usage") if isinstance(message, dict) else None
            if usage:
                return usage["prompt_tokens"], usage["completion_tokens"]
        return self.estimate(responses, request)
'''

DATASET = '''\
"""Dataset `{name}`. Run it: perfbench run --plugin {file} --dataset {name} --url http://host --model NAME"""

from collections.abc import Iterator
from typing import Any

from pydantic import Field

from perfbench_plugins.datasets.base import BaseDatasetArgs, DatasetPluginBase
from perfbench_plugins.registry import register_dataset

TOPICS = ["the tides", "sourdough", "a bicycle's gears", "the northern lights"]


class {class_name}Args(BaseDatasetArgs):
    """Options, given as `--dataset-args '{{"sentences": 5}}'` or `dataset.args`."""

    sentences: int = Field(3, ge=1)
    """How many sentences to ask for."""


@register_dataset("{name}")
class {class_name}Dataset(DatasetPluginBase):
    """Questions about topics, or about the lines of a file (`--dataset-path`)."""

    args_schema = {class_name}Args

    def build_messages(self) -> Iterator[Any]:
        """One prompt after another; begun again when it ends before enough requests were made."""
        path = self.query_parameters.dataset_path
        topics = [line.strip() for line in self.dataset_line_by_line(path)] if path else list(TOPICS)
        self.random.shuffle(topics)  # from the run's seed: the same seed, the same order
        for topic in topics:
            prompt = f"Explain {{topic}} in {{self.dataset_args.sentences}} sentences."
            yield [self.create_message(prompt)]
'''

API_TEST = '''\
"""The API `{name}`: run with pytest."""

from pathlib import Path

from perfbench_plugins.arguments import Arguments
from perfbench_plugins.loading import load_plugins
from perfbench_plugins.registry import ApiRegistry
from perfbench_runner.cli.plugin_check import faults

FILE = Path(__file__).with_name("{file}")


def test_the_bundled_mock_understands_it_and_it_understands_the_mock() -> None:
    assert faults(FILE) == []


def test_a_system_message_comes_first() -> None:
    load_plugins([str(FILE)])
    param = Arguments(url="http://127.0.0.1", model="m", api="{name}", api_args={{"system": "Be brief."}}, max_tokens=5)
    body = ApiRegistry.get_class("{name}")(param).build_request("Why?")
    assert body["messages"] == [{{"role": "system", "content": "Be brief."}}, {{"role": "user", "content": "Why?"}}]
    assert body["max_tokens"] == 5
'''

DATASET_TEST = '''\
"""The dataset `{name}`: run with pytest."""

from pathlib import Path

from perfbench_plugins.arguments import Arguments
from perfbench_plugins.loading import load_plugins
from perfbench_plugins.registry import DatasetRegistry
from perfbench_runner.cli.plugin_check import faults

FILE = Path(__file__).with_name("{file}")


def test_its_prompts_are_sent_and_answered() -> None:
    assert faults(FILE) == []


def test_it_asks_about_each_line_of_a_file(tmp_path: Path) -> None:
    load_plugins([str(FILE)])
    (tmp_path / "topics.txt").write_text("snow\\nsand\\n")
    param = Arguments(
        url="http://127.0.0.1",
        model="m",
        dataset="{name}",
        dataset_path=str(tmp_path / "topics.txt"),
        dataset_args={{"sentences": 1}},
    )
    prompts = [messages[0]["content"] for messages in DatasetRegistry.get_class("{name}")(param).build_messages()]
    assert sorted(prompts) == ["Explain sand in 1 sentences.", "Explain snow in 1 sentences."]
'''
TEMPLATES = {"api": (API, API_TEST), "dataset": (DATASET, DATASET_TEST)}


def write_start(kind: str, name: str, folder: Path) -> tuple[Path, Path]:
    """Write a plugin and its test; returns both paths. Raises PluginError for a bad name and files that exist."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise PluginError(f"{name!r} is no name for a plugin; use small letters, digits and _, a letter first")
    files = folder / f"{name}.py", folder / f"test_{name}.py"
    for file in files:
        if file.exists():
            raise PluginError(f"{file} exists; nothing was written")
    class_name = "".join(part.capitalize() for part in name.split("_"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, template in zip(files, TEMPLATES[kind], strict=True):
            file.write_text(template.format(name=name, file=files[0].name, class_name=class_name), encoding="utf-8")
    except OSError as error:
        raise PluginError(f"cannot write into {folder}: {error.strerror}") from None
    return files
