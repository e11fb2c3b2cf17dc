"""API `template`: bodies by Jinja, answers by JMESPath."""

import sys
from typing import Any

import pytest

from perfbench_plugins.api.template_api import TemplatePlugin, _paths
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.reading import Piece
from perfbench_plugins.registry import PluginError

BODY = """{
  "model": {{ model | tojson }},
  "inputs": {{ prompt | tojson }},
  "turns": {{ messages | tojson }}
  {%- if max_tokens %}, "limit": {{ max_tokens }}{% endif %}
}"""
CHAT = [{"role": "user", "content": 'say "<hi>" {{ model }} é\n'}]


def plugin(param: dict[str, Any] | None = None, **args: Any) -> TemplatePlugin:
    given = {"body": BODY, "content": "token.text"} | args
    return TemplatePlugin(Arguments(url="http://x", model="m", api="template", api_args=given, **(param or {})))


def test_the_body_is_the_rendered_template_and_prompts_are_no_templates() -> None:
    body = plugin({"max_tokens": 5, "extra_args": {"x": 1}}).build_request(CHAT)
    assert body == {"model": "m", "inputs": CHAT[0]["content"], "turns": CHAT, "limit": 5, "x": 1}


def test_a_text_token_ids_and_a_batch_are_variables_too() -> None:
    body = '{"p": {{ prompt | tojson }}, "b": {{ prompts | tojson }}, "i": {{ token_ids | tojson }}}'
    made = plugin(body=body)
    assert made.build_request("hi") == {"p": "hi", "b": None, "i": None}
    assert made.build_request([1, 2]) == {"p": None, "b": None, "i": [1, 2]}
    assert made.build_request(["a", "b"]) == {"p": "a\nb", "b": ["a", "b"], "i": None}


def test_a_whole_body_is_sent_as_it_is() -> None:
    assert plugin().build_request({"x": 1}) == {"x": 1}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("{{ modle }}", "target.apiArgs.body line 1: UndefinedError: 'modle' is undefined"),
        ('{\n"a": 1,\n"b": {{ prompt.x }}}', "target.apiArgs.body line 3: UndefinedError: "),
        ('{"a":\n{{ 1 / 0 }}}', "target.apiArgs.body line 2: ZeroDivisionError: division by zero"),
        ("{", "target.apiArgs.body: renders to no JSON"),
        ("[1]", "target.apiArgs.body: renders to a JSON list"),
        ("{{ ''.__class__.__mro__ }}", "target.apiArgs.body line 1: SecurityError: "),
    ],
)
def test_a_body_that_cannot_be_sent_is_told_with_the_templates_own_line(body: str, words: str) -> None:
    with pytest.raises(PluginError) as caught:
        plugin(body=body).build_request("hi")
    assert str(caught.value).startswith(words)
    assert ".py" not in str(caught.value)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"body": "{{ a"}, "target.apiArgs.body: no Jinja template"),
        ({"content": "a[["}, "target.apiArgs.content: no JMESPath expression"),
        ({"headers": {"Key": "{% x %}"}}, "target.apiArgs.headers.Key: no Jinja template"),
    ],
)
def test_a_wrong_expression_is_told_before_anything_is_sent(args: dict[str, Any], words: str) -> None:
    with pytest.raises(PluginError) as error:
        plugin(**args)
    assert str(error.value).startswith(words)
    assert "\n" not in str(error.value)


def test_messages_mean_what_the_expressions_find() -> None:
    made = plugin(
        content="choices[0].delta.content", reasoning="choices[0].delta.thought", end="choices[0].finish != null"
    )
    cases: list[tuple[Any, Piece]] = [
        ({"choices": [{"delta": {"content": "a"}, "finish": None}]}, Piece("a")),
        ({"choices": [{"delta": {"thought": "b"}}]}, Piece(reasoning="b")),
        ({"choices": [{"finish": "stop"}]}, Piece(is_last=True)),
        ({"error": {"message": "bad"}}, Piece(error="bad")),
        ({"error": "worse"}, Piece(error="worse")),
        ({"error": None}, Piece()),
        ({"choices": [{"delta": {"content": ["a", "b"]}}]}, Piece("ab")),
    ]
    for message, piece in cases:
        assert made.read_message(message) == piece


def test_without_an_end_any_message_may_be_the_last() -> None:
    assert plugin().read_message({"token": {"text": "a"}}) == Piece("a", is_last=True)


def test_usage_is_where_the_expressions_say_in_the_last_message_that_has_it() -> None:
    made = plugin(prompt_tokens="u.in", completion_tokens="u.out", cached_tokens="u.cached")
    messages = [{"u": {"in": 1, "out": 1}}, {"u": {"in": 9, "out": 4, "cached": 2}}, {"bye": 1}]
    tokens: Any = made.parse_responses(messages)
    assert (tokens, tokens.source, tokens.cached) == ((9, 4), "usage", 2)


def test_without_usage_messages_with_content_are_counted() -> None:
    tokens: Any = plugin().parse_responses([{"token": {"text": "a"}}, {"token": {"text": "b"}}, {}])
    assert (tokens.prompt, tokens.completion, tokens.source) == (None, 2, "chunks")


def test_an_answer_without_text_has_no_completion_tokens() -> None:
    made = plugin(content=None, generates=False, prompt_tokens="n")
    tokens: Any = made.parse_responses([{"n": 7}])
    assert (made.generates, tokens, tokens.source) == (False, (7, 0), "usage")


@pytest.mark.parametrize("expression", ["a", "a.b", "a[0]", "a.b[1].c", "a.b || c", "a || c", "a[0].b || a.b || c"])
def test_plain_paths_mean_what_jmespath_says(expression: str) -> None:
    import jmespath  # type: ignore[import-untyped]

    inner: list[Any] = [None, 0, 1, "", "x", False, True, [], {}, [1], [0, {"c": 2}], {"b": 1}, {"b": [5, {"c": 3}]}]
    messages = [{"a": one, "c": two} for one in inner for two in (None, "c")] + [[], [1], "text", 3, {}]
    search = _paths(expression)
    assert search is not None
    assert [repr(search(message)) for message in messages] == [
        repr(jmespath.search(expression, message)) for message in messages
    ]


@pytest.mark.parametrize("expression", ["a[*]", "a | b", "a == `1`", "length(a)", '"a b"', "[a]", "a[-1]", "a && b"])
def test_what_is_no_plain_path_is_left_to_jmespath(expression: str) -> None:
    assert _paths(expression) is None


@pytest.mark.parametrize("library", ["jinja2", "jmespath"])
def test_a_missing_extra_is_named(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(PluginError, match=r"pip install 'perfbench-operator\[template\]'"):
        plugin()
