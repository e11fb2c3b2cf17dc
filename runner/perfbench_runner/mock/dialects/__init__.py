"""The APIs that the mock speaks, one file each. This tuple is the only place where they are registered."""

from perfbench_runner.mock.dialects.anthropic import Anthropic
from perfbench_runner.mock.dialects.dashscope import DashScope
from perfbench_runner.mock.dialects.ollama import Ollama
from perfbench_runner.mock.dialects.openai_chat import OpenAIChat
from perfbench_runner.mock.dialects.openai_completions import OpenAICompletions
from perfbench_runner.mock.dialects.openai_embeddings import OpenAIEmbeddings
from perfbench_runner.mock.dialects.openai_responses import OpenAIResponses
from perfbench_runner.mock.dialects.rerank import Rerank
from perfbench_runner.mock.dialects.tgi import TGI
from perfbench_runner.mock.plan import Dialect

DIALECTS: tuple[Dialect, ...] = (
    OpenAIChat(),
    OpenAICompletions(),
    OpenAIEmbeddings(),
    OpenAIResponses(),
    Rerank(),
    Anthropic(),
    DashScope(),
    TGI(),
    Ollama(),
)

BY_PATH: dict[str, Dialect] = {path: dialect for dialect in DIALECTS for path in dialect.paths}
