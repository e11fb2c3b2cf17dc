"""What is a secret, and text without it: the one place that says so. docs/security.md lists the rules.

Two kinds of rules. By name and by look: a header called X-Custom-Token, a value that begins with `sk-`. And by value: what
a run was given as a key is known to `KNOWN`, and hidden wherever text leaves the process, whoever put it there.
"""

import re
from base64 import b64decode, b64encode
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

HIDDEN = "[hidden]"
WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
ALWAYS = frozenset(
    "authorization cookie password passwd passphrase secret credential credentials apikey signature sig jwt bearer".split()
)
"""A name with one of these words is a secret's."""
AT_THE_END = frozenset({"token", "key", "auth", "pwd", "pat"})
"""So is one that ends in one of these, …"""
NO_KEYS = frozenset({"cache", "partition", "primary", "public", "sort", "routing", "idempotency", "request", "foreign"})
"""… unless one of these comes before it: `prompt_cache_key` names no key to anything."""
KEYS = frozenset(
    (first, last)
    for first in ("api", "access", "auth", "private", "secret", "subscription")
    for last in ("key", "token")
)
LOOKS = re.compile(
    r"\b(?:sk|pk|rk|gsk|xai|nvapi|pplx|glpat|csk|ak)[-_][A-Za-z0-9][A-Za-z0-9_-]{7,}"
    r"|\b(?:gh[oprsu]|github_pat|hf|r8)_[A-Za-z0-9_]{16,}|\bxox[abeoprs]-[A-Za-z0-9-]{10,}"
    r"|\bAKIA[0-9A-Z]{16}\b|\bAIza[0-9A-Za-z_-]{30,}|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]*(?:-----END [A-Z ]*PRIVATE KEY-----)?"
    r"|(?<=[Bb]earer )[A-Za-z0-9._~+/=-]{8,}|(?<=[Bb]asic )[A-Za-z0-9+/=]{8,}"
)
"""How keys look that one can tell by their look."""
NAMED = re.compile(
    r"(?i)((?:api[-_ ]?key|token|secret|password|passwd|authorization)[\"']?\s*[:=]\s*[\"']?)"
    r"(?=[^\s\"'&,;}]*\d)[^\s\"'&,;}]{8,}"
)
"""A name of a secret, and a value behind it that has a digit."""
SHORTEST = 4
"""Of shorter values nobody can tell whether they are meant."""
WHOLE_WORDS = 8
"""Shorter values are hidden where they stand for themselves, not within other words."""
PART = 12
"""A part of a secret that is as long as this is hidden, too: texts are cut, and servers tell keys in part."""
PLACEHOLDERS = frozenset({"empty", "none", "null", "dummy", "test", "token", "bearer", "basic", "x-api-key", "no-key"})
"""Values that people give where a key is asked for and none is needed."""


def is_secret_name(name: str) -> bool:
    """Whether a value of this name (a header, a query parameter, an option) is a secret."""
    words = [word.lower() for word in WORDS.findall(name)]
    if not words:
        return False
    if ALWAYS.intersection(words):
        return True
    return words[-1] in AT_THE_END and not (len(words) > 1 and words[-2] in NO_KEYS)


def is_secret_field(name: str, value: str) -> bool:
    """Whether a field of a body or an option of a plugin is a secret, where `eos_token` and `sort_by_key` are none."""
    words = [word.lower() for word in WORDS.findall(name)]
    if ALWAYS.intersection(words) or tuple(words[-2:]) in KEYS:
        return True
    return is_secret_name(name) and len(value) >= 16 and any(character.isdigit() for character in value)


def looks_secret(value: str) -> bool:
    """Whether a value looks like a key."""
    return LOOKS.search(value) is not None


def without_keys(text: str) -> str:
    """A text without what looks like a key: for errors about input of which nobody knows what it is."""
    return NAMED.sub(rf"\1{HIDDEN}", LOOKS.sub(HIDDEN, text))


def shown(value: Any, names: Iterable[Any] = ()) -> str:
    """A wrong value, for an error: not where one of the names on the way to it is a secret's, or where it looks like one."""
    if isinstance(value, (dict, list)):
        return "a map" if isinstance(value, dict) else "a list"
    if any(isinstance(name, str) and is_secret_name(name) for name in names):
        return f"a value that may be a secret and is not shown ({type(value).__name__})"
    return without_keys(repr(value))


class Redactor:
    """Hides values that it knows: whole, in parts of at least 12 characters, and in base64 within any other text."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        """Secrets, and the variables that they come from."""
        self._needles: dict[bytes, list[bytes]] = {}
        """Short pieces that any part of a secret has, and the secrets (or their encodings) that have it."""
        self._words: list[bytes] = []

    def add(self, value: str | None, variable: str = "") -> None:
        """Know a secret, and the environment variable that holds it."""
        value = (value or "").strip()
        scheme, _, rest = value.partition(" ")
        if rest and scheme.lower() in ("bearer", "basic", "token", "apikey"):
            self.add(rest, variable)
            return
        if len(value) < SHORTEST or value.lower() in PLACEHOLDERS or value in self._names:
            return
        self._names[value] = variable
        if len(value) < WHOLE_WORDS:
            self._words.append(value.encode())
            return
        for form in {value.encode(), quote(value, safe="").encode(), *_in_json(value)}:
            self._add_form(form, PART)
        for form in _in_base64(value.encode()):
            self._add_form(form, 2 * PART)

    def _add_form(self, form: bytes, part: int) -> None:
        size = min(len(form), part)
        for at in {*range(0, len(form) - size + 1, size), len(form) - size}:
            self._needles.setdefault(form[at : at + size], []).append(form)

    @property
    def names(self) -> dict[str, str]:
        """Known secrets and the variables that they come from, the longest first."""
        return dict(sorted(self._names.items(), key=lambda item: -len(item[0])))

    def is_clean(self, data: bytes) -> bool:
        """Whether nothing is to be hidden."""
        return not (any(needle in data for needle in self._needles) or self._has_word(data))

    def _has_word(self, data: bytes) -> bool:
        return any(word in data and _as_word(word).search(data) for word in self._words)

    def spans(self, data: bytes) -> list[tuple[int, int]]:
        """What is to be hidden: begins and ends."""
        found = [match.span() for word in self._words if word in data for match in _as_word(word).finditer(data)]
        for needle, forms in self._needles.items():
            at = data.find(needle)
            while at >= 0:
                found.append(max((_extent(data, at, needle, form) for form in forms), key=lambda one: one[1] - one[0]))
                at = data.find(needle, at + len(needle))
        return sorted(found)

    def masked(self, data: bytes) -> bytes:
        """The data with secrets in it made unreadable, every byte in its place: JSON stays JSON, and times stay true."""
        if self.is_clean(data):
            return data
        changed = bytearray(data)
        for begin, end in self.spans(data):
            changed[begin:end] = (b"1" if data[begin:end].isdigit() else b"*") * (end - begin)
        return bytes(changed)

    def text(self, text: str) -> str:
        """The text with secrets in it hidden."""
        data = text.encode(errors="surrogatepass")
        if self.is_clean(data):
            return text
        parts, at = list[bytes](), 0
        for begin, end in self.spans(data):
            if begin >= at:
                parts += [data[at:begin], HIDDEN.encode()]
            at = max(at, end)
        return b"".join([*parts, data[at:]]).decode(errors="replace")

    def data(self, value: Any) -> Any:
        """Plain data (of JSON) with secrets hidden in all its texts, names of fields included."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.data(key): self.data(inner) for key, inner in value.items()}
        return [self.data(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def _extent(data: bytes, at: int, needle: bytes, form: bytes) -> tuple[int, int]:
    """How much of a secret's form stands around a piece of it that was found."""
    where = form.find(needle)
    begin, end, first, last = at, at + len(needle), where, where + len(needle)
    while begin > 0 and first > 0 and data[begin - 1] == form[first - 1]:
        begin, first = begin - 1, first - 1
    while end < len(data) and last < len(form) and data[end] == form[last]:
        end, last = end + 1, last + 1
    return begin, end


def _as_word(word: bytes) -> "re.Pattern[bytes]":
    return re.compile(rb"(?<![A-Za-z0-9_-])" + re.escape(word) + rb"(?![A-Za-z0-9_-])")


def _in_json(value: str) -> set[bytes]:
    """The value as it stands in JSON, where that is otherwise."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return {escaped.encode(), escaped.replace("/", "\\/").encode()} if escaped != value or "/" in value else set()


def _in_base64(value: bytes) -> set[bytes]:
    """What of the value's base64 is the same whatever stands before and after it: at three offsets, in two alphabets."""
    found = set[bytes]()
    for offset in range(3):
        whole = b64encode(b"\0" * offset + value)
        begin, end = (0, 2, 3)[offset], (len(value) + offset) * 8 // 6
        core = whole[begin:end]
        if len(core) >= WHOLE_WORDS:
            found |= {core, core.replace(b"+", b"-").replace(b"/", b"_")}
    return found


def basic_password(value: str) -> str | None:
    """The password in the value of a header `Authorization: Basic …`."""
    scheme, _, rest = value.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return b64decode(rest, validate=True).decode().partition(":")[2] or None
    except ValueError:
        return None


KNOWN = Redactor()
"""The secrets of this process: a secret is one for every run in it, and for whatever it prints."""
