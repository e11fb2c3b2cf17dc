"""Secrets are told by name, by look, and by value: whole, in parts that matter, and in base64."""

import json
from base64 import b64encode, urlsafe_b64encode
from random import Random
from time import thread_time

import pytest

from perfbench_api.redaction import HIDDEN, Redactor, is_secret_field, is_secret_name, looks_secret, shown, without_keys

KEY = "sk-planted-7Fq2ZtR9xW4mK8vB3nL6"
LONG = b64encode(Random(1).randbytes(54)).decode()


@pytest.mark.parametrize(
    "name",
    "Authorization authorization Proxy-Authorization X-Api-Key api_key apiKey apikey APIKEY X-Custom-Token access_token"
    " Ocp-Apim-Subscription-Key X-Auth X-Auth-Token Cookie Set-Cookie password clientSecret client_secret X-Amz-Signature"
    " sig key x-functions-key HF_TOKEN credentials X-Goog-Api-Key privateKey secret_access_key".split(),
)
def test_names_of_secrets(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    "max_tokens maxTokens tokenizer_path stop_token_ids prompt_cache_key Idempotency-Key Content-Type X-Request-Id model"
    " tokens keyboard author monkey publicKey session_id _".split(),
)
def test_names_of_others(name: str) -> None:
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    ("name", "value", "is_secret"),
    [
        ("api_key", "x", True),
        ("apiKey", "x", True),
        ("password", "x", True),
        ("access_token", "x", True),
        ("eos_token", "</s>", False),
        ("image_token", "<|image_pad|>", False),
        ("token", "a1b2c3d4e5f6a7b8c9", True),
        ("key", "prompt", False),
    ],
)
def test_fields_of_bodies_are_secrets_less_easily(name: str, value: str, is_secret: bool) -> None:
    assert is_secret_field(name, value) is is_secret


@pytest.mark.parametrize(
    "value",
    [
        "sk-abcdefgh12345678",
        "sk-proj-abc_def-123456789",
        "ghp_abcdefghijklmnopqrstuv",
        "hf_abcdefghijklmnopqrst",
        "AKIAABCDEFGHIJKLMNOP",
        "eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0dXJl",
        "Bearer abcdefgh123",
        "Basic dXNlcjpwYXNz",
        "xoxb-123456789012",
        "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----",
    ],
)
def test_values_that_look_like_keys(value: str) -> None:
    assert looks_secret(value)
    assert without_keys(f"got {value!r} here").count(HIDDEN) == 1
    assert value.split()[-1] not in without_keys(f"got {value} here")


@pytest.mark.parametrize(
    "value", ["llama-8b", "ask-me-anything-now", "http://host:8000/v1", "500ms", "task_token", "sk-1"]
)
def test_values_that_do_not(value: str) -> None:
    assert not looks_secret(value)
    assert without_keys(value) == value


def test_a_wrong_value_is_shown_unless_it_may_be_a_secret() -> None:
    assert shown(5, ["spec", "load"]) == "5"
    assert shown("abc", ["spec", "target", "model"]) == "'abc'"
    assert "abc" not in shown("abc", ["spec", "target", "apiKey"])
    assert KEY not in shown(KEY, ["spec", "target", "model"])
    assert shown({"apiKey": "abc"}, []) == "a map"


def known(*secrets: str) -> Redactor:
    made = Redactor()
    for secret in secrets:
        made.add(secret, "VARIABLE")
    return made


@pytest.mark.parametrize("secret", [KEY, LONG, "pass word with ä", "12345678", 'quo"te\\d-key/x', "abcdefghijkl"])
def test_a_known_secret_is_hidden_in_every_form(secret: str) -> None:
    redactor = known(secret)
    forms = [secret, json.dumps(secret, ensure_ascii=False)[1:-1]]
    for pad in ("", "u", "us", "user:"):
        forms += [
            b64encode((pad + secret + pad).encode()).decode(),
            urlsafe_b64encode((pad + secret).encode()).decode(),
        ]
    for form in forms:
        text = redactor.text(f"before {form} after")
        assert HIDDEN in text
        assert text.startswith("before ")
        assert text.endswith(" after")
        assert len(text) < len("before  after") + len(HIDDEN) + 24, text
        masked = redactor.masked(form.encode())
        assert len(masked) == len(form.encode())
        assert secret.encode() not in masked


@pytest.mark.parametrize("secret", [KEY, LONG, "k" + Random(2).randbytes(80).hex()])
def test_parts_of_it_that_matter_are_hidden_and_others_are_not(secret: str) -> None:
    redactor, random = known(secret), Random(secret)
    assert redactor.text(f"it begins with {secret[:11]}") == f"it begins with {secret[:11]}"
    for part in (secret[:12], secret[:-5], secret[-12:], secret[5:]):
        assert redactor.text(f"<{part}>") == f"<{HIDDEN}>"
    for _ in range(50):  # a part out of the middle
        at = random.randrange(len(secret) - 23)
        assert HIDDEN in redactor.text(f"<{secret[at : at + 23]}>")


def test_short_secrets_are_hidden_as_words_and_placeholders_are_none() -> None:
    redactor = known("geheim", "abc", "EMPTY", "none", "Bearer xyzzy1")
    assert redactor.text("geheim! ungeheim geheimnis xyzzy1") == f"{HIDDEN}! ungeheim geheimnis {HIDDEN}"
    assert redactor.text("abc EMPTY none Bearer") == "abc EMPTY none Bearer"


def test_a_number_stays_one() -> None:
    assert json.loads(known("12345678").masked(b'{"a": 12345678, "b": "x12345678"}')) == {
        "a": 11111111,
        "b": "x11111111",
    }


def test_data_is_hidden_in_texts_alone() -> None:
    found = known(KEY, "12345678").data({"a": [KEY, 12345678, None, True], KEY: 1.5})
    assert found == {"a": [HIDDEN, 12345678, None, True], HIDDEN: 1.5}


def test_several_secrets_in_one_text_and_overlapping_ones() -> None:
    redactor = known(KEY, KEY[5:], LONG)
    assert redactor.text(f"{KEY} and {LONG}, {KEY}{LONG}") == f"{HIDDEN} and {HIDDEN}, {HIDDEN}{HIDDEN}"


def test_looking_through_a_long_answer_takes_little_time() -> None:
    redactor = known(KEY, LONG)
    body = b'data: {"id":"cmpl-1","choices":[{"index":0,"delta":{"content":" hello"},"finish_reason":null}]}\n\n' * 2000
    took_s = []
    for _ in range(3):
        began_s = thread_time()
        assert redactor.is_clean(body)
        took_s.append(thread_time() - began_s)
    assert min(took_s) < 0.1
