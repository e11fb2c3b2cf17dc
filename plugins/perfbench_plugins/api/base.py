"""The contract of an API plugin, as EvalScope's perf plugins know it."""

from typing import TYPE_CHECKING, Any

from perfbench_plugins.arguments import Arguments
from perfbench_plugins.benchmark_data import BenchmarkData

if TYPE_CHECKING:  # a fifth of a second to import, and most runs need no session
    import aiohttp


class ApiPluginBase:
    """Speaks to one kind of API: builds bodies, counts tokens, and (unless `DefaultApiPlugin` does it) sends requests."""

    suffix: str = ""
    """What is added to a URL that ends in the host or in /v1, such as `chat/completions`."""
    generates: bool = True
    """Whether answers are generated text; false for embeddings and reranking."""

    def __init__(self, param: Arguments) -> None:
        self.param = param
        self.model_path = param.tokenizer_path

    def build_request(self, messages: Any, param: Arguments | None = None) -> dict[str, Any]:
        """The request body for what the dataset yielded: chat messages, text, token ids or a whole body."""
        raise NotImplementedError(f"{type(self).__name__} must implement build_request")

    def parse_responses(self, responses: list[Any], request: str | None = None, **kwargs: Any) -> tuple[int, int]:
        """Prompt and completion tokens, from the messages of the answer and the body that was sent (JSON text)."""
        raise NotImplementedError(f"{type(self).__name__} must implement parse_responses")

    async def process_request(
        self, client_session: "aiohttp.ClientSession", url: str, headers: dict[str, str], body: dict[str, Any]
    ) -> BenchmarkData:
        """Send a request and measure it. Inherit from DefaultApiPlugin instead where the API speaks JSON or SSE."""
        raise NotImplementedError(f"{type(self).__name__} must implement process_request or inherit DefaultApiPlugin")

    @staticmethod
    def extract_body_meta(body: dict[str, Any], headers: dict[str, str]) -> tuple[dict[str, Any], str | None]:
        """Headers of this one request and its id, where the dataset put them into the body; they are taken out of it."""
        own = body.pop("__headers__", None) or {}
        return {**own, **headers}, body.pop("__request_id__", None)

    @staticmethod
    def replace_values(input_json: Any, model: str, prompt: str) -> None:
        """Replace the texts %m by the model and %p by the prompt, wherever they stand in the data."""
        items = input_json.items() if isinstance(input_json, dict) else enumerate(input_json)
        for key, value in list(items):
            if isinstance(value, (dict, list)):
                ApiPluginBase.replace_values(value, model, prompt)
            elif isinstance(value, str):
                input_json[key] = value.replace("%m", model).replace("%p", prompt)
