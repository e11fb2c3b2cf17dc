"""Tokenizers, only where they are asked for: counts that the server does not report, prompts of an exact length.

The `tokenizers` library is an optional extra and imported when a tokenizer is loaded; so is Jinja, for the model's own
chat template.
"""

import json
from functools import cached_property
from importlib import import_module
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

from perfbench_plugins.chat_template import ChatTemplate
from perfbench_plugins.chat_template import TokenizerError as TokenizerError
from perfbench_plugins.content import message_text
from perfbench_plugins.hub import HUGGINGFACE, HubError, fetch

FILE, CONFIG, TEMPLATE = "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"
WORDS_AT_MOST = 20_000
"""More different words than this make random prompts no more random, only slower to begin."""
WORDS_AT_LEAST = 64
"""A tokenizer with fewer whole words (one for letters or bytes, say) gets prompts of single tokens instead."""
ROUNDS = 8
"""Corrections of a random text's length; two are enough for the tokenizers in use."""
OF_TRANSFORMERS = ("return_dict", "return_tensors", "padding", "truncation", "max_length", "tokenizer_kwargs")
"""Arguments of apply_chat_template that are not the template's."""


class Tokenizer:
    """Counts and makes tokens: a thin wrapper of the library `tokenizers` that answers as transformers' tokenizers do."""

    def __init__(
        self,
        inner: Any,
        template: ChatTemplate | None = None,
        special: dict[str, Any] | None = None,
        name: str = "",
    ) -> None:
        self._inner, self.template, self.name_or_path = inner, template, name
        self.special = special or {}
        """Tokens by what they are for: bos_token, eos_token, …"""

    def encode(self, text: str, add_special_tokens: bool = True, **_: Any) -> list[int]:
        """Token ids of a text, such as begin one for the model included."""
        ids: list[int] = self._inner.encode(text, add_special_tokens=add_special_tokens).ids
        return ids

    def decode(self, token_ids: Any, skip_special_tokens: bool = False, **_: Any) -> str:
        """Text of token ids."""
        ids = [token_ids] if isinstance(token_ids, int) else list(token_ids)
        text: str = self._inner.decode(ids, skip_special_tokens=skip_special_tokens)
        return text

    def count(self, text: str) -> int:
        """Number of tokens of a text, without any that the model's input begins with."""
        return len(self.encode(text, add_special_tokens=False))

    def start(self, text: str, length: int) -> str:
        """The start of a text: at most so many tokens."""
        ids = self.encode(text, add_special_tokens=False)
        return text if len(ids) <= length else self.decode(ids[:length], skip_special_tokens=True)

    def count_messages(self, messages: Any) -> int:
        """Number of tokens of a text or of chat messages, those of the model's chat template included if it has one."""
        if isinstance(messages, str):
            return self.count(messages)
        for each in (messages, _without_images(messages)):
            text = self._rendered(each)
            if text is not None:
                return self.count(text)
        return sum(self.count(message_text(message)) for message in messages)

    def _rendered(self, messages: Any) -> str | None:
        """By the chat template; None without one, and for a role or an image that it does not know."""
        try:
            return self.template.render(messages, add_generation_prompt=True) if self.template else None
        except TokenizerError:
            return None

    def apply_chat_template(self, messages: list[dict[str, Any]], tokenize: bool = True, **values: Any) -> Any:
        """Token ids of chat messages, or their text; raises TokenizerError without a template."""
        if self.template is None:
            raise TokenizerError(
                f"the tokenizer has no chat template; it is read from {CONFIG} or {TEMPLATE} beside it"
            )
        kept = {name: value for name, value in values.items() if name not in OF_TRANSFORMERS}
        text = self.template.render(messages, **kept)
        ids = self.encode(text, add_special_tokens=False)
        return ({"input_ids": ids} if values.get("return_dict") else ids) if tokenize else text

    @cached_property
    def chat_overhead(self) -> int:
        """Tokens that the chat template adds to one user message; 0 without a template."""
        return self.count_messages([{"role": "user", "content": "a"}]) - self.count("a")

    @property
    def vocab_size(self) -> int:
        """Number of entries of the vocabulary, the added ones left out."""
        size: int = self._inner.get_vocab_size(with_added_tokens=False)
        return size

    def __len__(self) -> int:
        """Number of entries of the vocabulary, added ones too."""
        size: int = self._inner.get_vocab_size(with_added_tokens=True)
        return size

    def __bool__(self) -> bool:
        return True

    def __call__(self, text: str | list[str], add_special_tokens: bool = True, **_: Any) -> dict[str, Any]:
        """`input_ids` and `attention_mask` of a text, or of several."""
        texts = [text] if isinstance(text, str) else list(text)
        ids = [self.encode(each, add_special_tokens) for each in texts]
        masks = [[1] * len(each) for each in ids]
        one = isinstance(text, str)
        return {"input_ids": ids[0] if one else ids, "attention_mask": masks[0] if one else masks}

    def batch_decode(self, sequences: Any, skip_special_tokens: bool = False, **_: Any) -> list[str]:
        """Texts of several lists of token ids."""
        return [self.decode(ids, skip_special_tokens) for ids in sequences]

    def tokenize(self, text: str, **_: Any) -> list[str]:
        """Tokens of a text, as the vocabulary writes them."""
        tokens: list[str] = self._inner.encode(text, add_special_tokens=False).tokens
        return tokens

    def get_vocab(self) -> dict[str, int]:
        """Ids by token."""
        vocabulary: dict[str, int] = self._inner.get_vocab()
        return vocabulary

    def convert_ids_to_tokens(self, ids: Any) -> Any:
        """The token of an id, or of several."""
        if isinstance(ids, int):
            return self._inner.id_to_token(ids)
        return [self._inner.id_to_token(each) for each in ids]

    def convert_tokens_to_ids(self, tokens: Any) -> Any:
        """The id of a token, or of several; None for one that is not known."""
        if isinstance(tokens, str):
            return self._inner.token_to_id(tokens)
        return [self._inner.token_to_id(each) for each in tokens]

    def __getattr__(self, name: str) -> Any:
        """bos_token, eos_token, pad_token, unk_token and their ids, where the model names them; else None."""
        token, _, is_id = name.partition("_token")
        if token not in ("bos", "eos", "pad", "unk", "cls", "sep", "mask") or is_id not in ("", "_id"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        text = self.special.get(f"{token}_token")
        return text if not is_id or text is None else self._inner.token_to_id(text)

    @property
    def chat_template(self) -> str | None:
        """The template's source."""
        return self.template.source if self.template else None

    @property
    def all_special_ids(self) -> list[int]:
        """Ids that stand for no text, such as the end of an answer."""
        return [number for number, token in self._inner.get_added_tokens_decoder().items() if token.special]

    @cached_property
    def plain_ids(self) -> list[int]:
        """Ids of ordinary tokens, the added ones left out, in order."""
        added = self._inner.get_added_tokens_decoder()
        return sorted(set(self._inner.get_vocab(with_added_tokens=False).values()) - set(added))

    @cached_property
    def words(self) -> list[str]:
        """Words that are one token each after a space: a text of n of them has n tokens.

        Those that are so at a text's start too, where there are enough of them.
        """
        step = len(self.plain_ids) // WORDS_AT_MOST + 1
        texts = self._inner.decode_batch([[number] for number in self.plain_ids[::step]])
        words = list(dict.fromkeys(word for text in texts if (word := text.strip()).isalpha()))
        alone = [len(one) for one in self._inner.encode_batch(words, add_special_tokens=False)]
        twice = self._inner.encode_batch([f"{word} {word}" for word in words], add_special_tokens=False)
        after_space = [(word, one) for word, one, two in zip(words, alone, twice, strict=True) if len(two) == one + 1]
        anywhere = [word for word, one in after_space if one == 1]
        return anywhere if len(anywhere) >= WORDS_AT_LEAST else [word for word, _ in after_space]

    def random_text(self, length: int, random: Random) -> str:
        """A text of so many tokens; exact with the tokenizers in use, else the nearest that was found."""
        if length <= 0:
            return ""
        if len(self.words) < WORDS_AT_LEAST:
            return self._random_text_of_ids(length, random)
        return self._random_text_of_words(length, random)

    def random_ids(self, length: int, random: Random) -> list[int]:
        """Token ids of a random text: exactly so many."""
        ids = self.encode(self.random_text(length, random), add_special_tokens=False)[:length]
        return ids + random.choices(self.plain_ids, k=length - len(ids))

    def _random_text_of_words(self, length: int, random: Random) -> str:
        words = random.choices(self.words, k=length)
        if self._words_add_up:
            return " ".join(words)
        for _ in range(ROUNDS):
            surplus = self.count(" ".join(words)) - length
            if surplus == 0:
                break
            words = words[:-surplus] if 0 < surplus < len(words) else words + random.choices(self.words, k=-surplus)
        return " ".join(words)

    @cached_property
    def _words_add_up(self) -> bool:
        """Whether n words have n tokens, seen on a sample: then random texts need not be counted, which takes longest."""
        random = Random(0)
        samples = (random.choices(self.words, k=count) for count in range(1, 65))
        return all(self.count(" ".join(sample)) == len(sample) for sample in samples)

    def _random_text_of_ids(self, length: int, random: Random) -> str:
        ids = random.choices(self.plain_ids, k=length)
        tried: list[tuple[int, str]] = []
        for _ in range(ROUNDS):
            text = self.decode(ids)
            ids = self.encode(text, add_special_tokens=False)
            tried.append((abs(len(ids) - length), text))
            if len(ids) == length:
                break
            ids = ids[:length] + random.choices(self.plain_ids, k=max(0, length - len(ids)))
        return min(tried)[1]


class _Transformers:
    """What `Tokenizer` asks of the library `tokenizers`, answered by a slow tokenizer of transformers, or one like it."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def __getattr__(self, name: str) -> Any:
        if name == "tokenizer":  # not set yet: a copy is being made
            raise AttributeError(name)
        return getattr(self.tokenizer, name)

    def encode(self, text: str, add_special_tokens: bool = True) -> Any:
        ids = list(self.tokenizer.encode(text, add_special_tokens=add_special_tokens))
        return SimpleNamespace(ids=ids, tokens=ids)


class _TransformersTemplate(ChatTemplate):
    """The chat template of a tokenizer of transformers."""

    def render(self, messages: list[dict[str, Any]], **values: Any) -> str:
        """The text for messages; raises TokenizerError where the template refuses them."""
        try:
            return str(self.special["tokenizer"].apply_chat_template(messages, tokenize=False, **values))
        except Exception as error:  # noqa: BLE001  # templates are code of others
            raise TokenizerError(f"the chat template cannot render these messages: {error}") from None


def as_tokenizer(tokenizer: Any) -> Tokenizer:
    """A tokenizer of ours for what a plugin brought: ours, or one with the methods of transformers' tokenizers."""
    if isinstance(tokenizer, Tokenizer):
        return tokenizer
    source = getattr(tokenizer, "chat_template", None)
    template = _TransformersTemplate(str(source), {"tokenizer": tokenizer}) if source else None
    return Tokenizer(_Transformers(tokenizer), template, {}, getattr(tokenizer, "name_or_path", ""))


def load_tokenizer(tokenizer_path: str, source: str | None = None) -> Tokenizer:
    """The tokenizer in a tokenizer.json, in a folder that has one, or of a hub name; raises TokenizerError.

    `source` is the hub to look on: modelscope, or huggingface (also if None); local looks on none.
    """
    try:
        from tokenizers import Tokenizer as Inner
    except ImportError:
        raise TokenizerError(
            f"tokenizer {tokenizer_path!r} needs the extra `tokenizers`; run pip install 'perfbench-operator[tokenizers]'"
        ) from None
    place = Path(tokenizer_path) if Path(tokenizer_path).exists() else _download(tokenizer_path, source)
    file = place / FILE if place.is_dir() else place
    if not file.exists() and (slow := _of_transformers(place)) is not None:
        return slow
    if not file.exists():
        raise TokenizerError(
            f"tokenizer {tokenizer_path!r} has no {FILE}; save one with transformers:"
            " AutoTokenizer.from_pretrained(…).save_pretrained(FOLDER)"
        )
    try:
        inner = Inner.from_file(str(file))
    except Exception as error:  # noqa: BLE001  # the library raises bare Exceptions
        raise TokenizerError(f"tokenizer {tokenizer_path!r} cannot be loaded: {error}") from None
    # Texts are counted as they are: neither cut to a model's limit nor filled up to it.
    inner.no_truncation()
    inner.no_padding()
    config = _json(file.with_name(CONFIG))
    special = {name: _token(value) for name, value in config.items() if name.endswith("_token")}
    return Tokenizer(inner, _template_beside(file, config, special), special, tokenizer_path)


def _of_transformers(place: Path) -> Tokenizer | None:
    """A tokenizer that only transformers can read, where it is installed and can."""
    try:
        return as_tokenizer(import_module("transformers").AutoTokenizer.from_pretrained(str(place)))
    except (ImportError, OSError, ValueError):
        return None


def _download(name: str, source: str | None) -> Path:
    if source == "local" or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise TokenizerError(f"tokenizer {name!r} cannot be loaded: there is no such file or folder")
    hub = source or HUGGINGFACE
    try:
        return fetch(hub, "model", name, [FILE, CONFIG, TEMPLATE])
    except HubError as error:
        raise TokenizerError(
            f"tokenizer {name!r} is no local file, and of {hub} {error}, or give a local folder"
        ) from None


def _template_beside(file: Path, config: dict[str, Any], special: dict[str, Any]) -> ChatTemplate | None:
    """The chat template of the model whose tokenizer.json this is, or None if it has none."""
    own = file.with_name(TEMPLATE)
    source = own.read_text(encoding="utf-8") if own.exists() else config.get("chat_template")
    if isinstance(source, list):  # several templates by name: the default is the one for chat
        source = {entry.get("name"): entry.get("template") for entry in source}.get("default")
    if not source:
        return None
    return ChatTemplate(source, special)


def _json(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise TokenizerError(f"tokenizer: {str(file)!r} cannot be read: {error}") from None
    return value if isinstance(value, dict) else {}


def _token(value: Any) -> Any:
    return value.get("content") if isinstance(value, dict) else value


def _without_images(messages: list[Any]) -> list[Any]:
    return [{**each, "content": message_text(each)} if isinstance(each, dict) else each for each in messages]
