"""The contract of an API plugin, as EvalScope's perf plugins know it."""

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import ConfigDict, ValidationError

from perfbench_api.described import Described
from perfbench_api.resource import SpecError, problems
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_plugins.body_meta import HEADERS, PREFIX, REQUEST_ID, is_of_request
from perfbench_plugins.urls import CHAT, completed, ends_in

if TYPE_CHECKING:  # a fifth of a second to import, and most runs need no session
    import aiohttp


class BaseApiArgs(Described):
    """Options of an API plugin (`target.apiArgs`); a plugin with its own inherits this. Unknown ones are errors."""

    model_config = ConfigDict(extra="forbid", defer_build=True)


class ApiPluginBase:
    """Speaks to one kind of API: builds bodies, counts tokens, and (unless `DefaultApiPlugin` does it) sends requests."""

    suffix: str = ""
    """What is added to a URL that ends in the host or in /v1, such as `chat/completions`; from the host on if it begins
    with a slash."""
    endpoints: ClassVar[tuple[str, ...]] = ()
    """Paths that a URL of this API may end in; to one that ends in none of them `suffix` is added. Empty: only to a host
    and to /v1."""
    chats: ClassVar[bool | None] = None
    """Whether datasets make chat messages for it, where the user does not say; None: if the URL ends in chat/completions."""
    generates: bool = True
    """Whether answers are generated text; false for embeddings and reranking."""
    args_schema: ClassVar[type[BaseApiArgs]] = BaseApiArgs
    """Model of the plugin's own options."""

    def __init__(self, param: Arguments) -> None:
        self.param = param
        self.model_path = param.tokenizer_path
        self.api_args = self.read_args(param)

    @classmethod
    def read_args(cls, param: Arguments) -> Any:
        """The plugin's own options, as `args_schema`; raises SpecError."""
        try:
            return cls.args_schema.model_validate(param.api_args or {})
        except ValidationError as error:
            lines = [f".{line}".replace(".manifest: ", ": ", 1) for line in problems(error, cls.args_schema)]
            raise SpecError([f"spec.target.apiArgs{line}" for line in lines]) from None

    @classmethod
    def path(cls, param: Arguments) -> str:
        """The path to add to a URL that has none: `suffix`, unless it depends on the run's arguments."""
        return cls.suffix

    @classmethod
    def complete_url(cls, url: str, param: Arguments) -> str:
        """The URL with this API's usual path, where it has none."""
        return completed(url, cls.path(param), cls.endpoints)

    @classmethod
    def takes_chat(cls, url: str) -> bool:
        """Whether datasets make chat messages for this (complete) URL."""
        return ends_in(url, CHAT) if cls.chats is None else cls.chats

    @classmethod
    def redirect(cls, url: str, param: Arguments) -> str:
        """Where requests for this (complete) URL are sent: elsewhere, if the run's arguments ask for another endpoint."""
        return url

    def headers(self, api_key: str | None) -> dict[str, str]:
        """Headers of every request that this API needs of its own, the key among them; the manifest's win."""
        return {"Authorization": f"Bearer {api_key}"} if api_key else {}

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
        own = {name: value for name, value in (body.pop(HEADERS, None) or {}).items() if is_of_request(name)}
        request_id = body.pop(REQUEST_ID, None)
        for name in [name for name in body if name.startswith(PREFIX)]:
            del body[name]
        return {**own, **headers}, request_id

    def set_request_max_tokens(self, request: dict[str, Any], max_tokens: int) -> None:
        """Put a request's own longest answer into a body that is built. `build_request` gets it too, as `param`'s: this is
        for plugins that have their own way, and for `max_tokens` in bodies of plugins that do not look there."""
        request["max_tokens"] = max_tokens

    @staticmethod
    def replace_values(input_json: Any, model: str, prompt: str) -> None:
        """Replace the texts %m by the model and %p by the prompt, wherever they stand in the data."""
        items = input_json.items() if isinstance(input_json, dict) else enumerate(input_json)
        for key, value in list(items):
            if isinstance(value, (dict, list)):
                ApiPluginBase.replace_values(value, model, prompt)
            elif isinstance(value, str):
                input_json[key] = value.replace("%m", model).replace("%p", prompt)
