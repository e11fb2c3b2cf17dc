"""`spec.dataset`: what to send."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from perfbench_api.sections.references import NameRef
from perfbench_api.values import Free, Section, Tokens, Unit

Pixels = Annotated[int, Unit("pixels"), Field(ge=1)]


class Prompts(Section):
    """The fields of dataset that plugins also see, under EvalScope's names."""

    tokenizer_path: str | None = None
    """Tokenizer (folder, file or hub name) for token-exact prompts and to count tokens that the server does not report."""
    max_prompt_length: int = Field(131072, ge=1)
    """Longer prompts are skipped; in tokens with a tokenizer, otherwise in characters."""
    min_prompt_length: int = Field(0, ge=0)
    """Shorter prompts are skipped; in tokens with a tokenizer, otherwise in characters."""
    prefix_length: Tokens = Field(0, ge=0)
    """Length of the prefix that all prompts of the random datasets share."""
    prompt: str | None = None
    """One fixed prompt instead of the dataset; @FILE reads it from a file."""
    apply_chat_template: bool | None = None
    """Send chat messages (true) or plain text (false); by the URL if not given."""
    tokenize_prompt: bool = False
    """Send token ids instead of text; needs a tokenizer."""
    multi_turn: bool = False
    """Send conversations turn by turn instead of single requests."""
    min_turns: int = Field(1, ge=1)
    """Minimum number of turns of a conversation."""
    max_turns: int | None = Field(None, ge=1)
    """Maximum number of turns of a conversation."""
    image_width: Pixels = 224
    """Width of generated images."""
    image_height: Pixels = 224
    """Height of generated images."""
    image_format: str = "RGB"
    """Pixel format of generated images."""
    image_num: int = Field(1, ge=0)
    """Images in a generated prompt."""
    image_patch_size: Pixels = 28
    """Pixels of an image patch, to estimate image tokens that the server does not report."""


class Dataset(Prompts):
    """What to send."""

    name: str = "openqa"
    """Dataset plugin."""
    path: str | None = None
    """File or folder to read it from; a small sample or the hub if not given."""
    source: Literal["modelscope", "huggingface", "local"] | None = None
    """Hub to load it from."""
    offset: int = Field(0, ge=0)
    """Entries to skip at the start."""
    args: Free | None = None
    """The plugin's own options; `perfbench plugins` lists them."""
    unique: bool = False
    """Put a few random words, about six tokens, before each prompt, so that no server has its beginning in a cache."""
    measure_cache: bool = False
    """Prompts are meant to be found in the server's prefix cache: its share is a figure then, and no reason to warn."""
    config_map: NameRef | None = None
    """In the cluster: a ConfigMap that holds the file `path`."""
    claim: NameRef | None = None
    """In the cluster: a PersistentVolumeClaim that holds the file `path`."""

    @model_validator(mode="after")
    def _ranges_are_ranges(self) -> Self:
        if self.min_prompt_length > self.max_prompt_length:
            raise ValueError(
                f"minPromptLength {self.min_prompt_length} is above maxPromptLength {self.max_prompt_length}"
            )
        if self.max_turns is not None and self.min_turns > self.max_turns:
            raise ValueError(f"minTurns {self.min_turns} is above maxTurns {self.max_turns}")
        return self
