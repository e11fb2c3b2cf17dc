"""Which proxy a run uses: what target.proxy says, and what the environment does."""

import pytest

from perfbench_api.redaction import KNOWN
from perfbench_api.resource import SpecError
from perfbench_runner.run.proxies import ignored, proxy_of
from perfbench_runner.shard.destination import Proxy

HTTP, HTTPS = "http://llm.test:8000/v1", "https://llm.test/v1"
P = "http://proxy.test:3128"


@pytest.mark.parametrize(
    ("given", "url", "env", "expected"),
    [
        (None, HTTP, {"http_proxy": P}, None),
        (P, HTTP, {}, P),
        (P, HTTPS, {"NO_PROXY": "llm.test"}, P),
        (P, "unix:/run/vllm.sock:/v1", {}, None),
        ("environment", HTTP, {}, None),
        ("environment", HTTP, {"http_proxy": P}, P),
        ("environment", HTTP, {"HTTP_PROXY": P}, P),
        ("environment", HTTP, {"http_proxy": "http://lower:1", "HTTP_PROXY": P}, "http://lower:1"),
        ("environment", HTTP, {"https_proxy": P}, None),
        ("environment", HTTPS, {"https_proxy": P}, P),
        ("environment", HTTPS, {"HTTPS_PROXY": "proxy.test:3128"}, P),
        ("environment", HTTPS, {"ALL_PROXY": "http://proxy.test"}, "http://proxy.test:80"),
        ("environment", HTTP, {"http_proxy": P, "NO_PROXY": "llm.test"}, None),
        ("environment", HTTP, {"http_proxy": P, "no_proxy": "other,.test"}, None),
        ("environment", HTTP, {"http_proxy": P, "no_proxy": "*"}, None),
        ("environment", HTTP, {"http_proxy": P, "no_proxy": "m.test, *.LLM.test"}, None),
        ("environment", HTTP, {"http_proxy": P, "no_proxy": "m.test,"}, P),
        ("environment", "http://10.1.2.3", {"http_proxy": P, "no_proxy": "10.0.0.0/8"}, None),
        ("environment", "http://10.1.2.3", {"http_proxy": P, "no_proxy": "10.1.2.4,2.3"}, P),
        ("environment", "http://[fd00::1]", {"http_proxy": P, "no_proxy": "[fd00::1]"}, None),
        ("environment", "http://127.0.0.1:8000", {"http_proxy": P}, None),
        ("environment", "http://localhost", {"http_proxy": P}, None),
        ("environment", "http://[::1]:8000", {"http_proxy": P}, None),
        ("http://[::1]:3128", HTTP, {}, "http://[::1]:3128"),
    ],
)
def test_the_proxy_of_a_url(given: str | None, url: str, env: dict[str, str], expected: str | None) -> None:
    proxy = proxy_of(given, url, env)
    assert (str(proxy) if proxy else None) == expected


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("https://proxy.test", "of scheme https"),
        ("socks5://proxy.test:1080", "of scheme socks5"),
        ("proxy.test:3128", "no URL"),
        ("env", "no URL"),
        ("http://proxy.test:port", "Port could not be cast"),
        ("http://", "no URL"),
    ],
)
def test_what_is_no_proxy_is_told(given: str, words: str) -> None:
    with pytest.raises(SpecError, match=r"^spec\.target\.proxy: ") as caught:
        proxy_of(given, HTTP, {})
    assert words in str(caught.value)
    assert "http://HOST:PORT, or environment" in str(caught.value)


def test_name_and_password_are_sent_to_the_proxy_and_shown_to_nobody() -> None:
    proxy = proxy_of("environment", HTTPS, {"HTTPS_PROXY": "http://me:p%40ss-word-of-mine@proxy.test:3128"})
    assert proxy == Proxy("proxy.test", 3128, "Basic bWU6cEBzcy13b3JkLW9mLW1pbmU=")
    assert "bWU6" not in repr(proxy) + str(proxy)
    assert "p@ss" not in KNOWN.text("it said p@ss-word-of-mine")
    assert "bWU6" not in KNOWN.text("it said bWU6cEBzcy13b3JkLW9mLW1pbmU=")


@pytest.mark.parametrize(
    ("given", "url", "env", "told"),
    [
        (None, HTTP, {}, ""),
        (None, HTTP, {"HTTP_PROXY": P}, "HTTP_PROXY"),
        (None, HTTPS, {"all_proxy": P}, "all_proxy"),
        (None, HTTPS, {"http_proxy": P}, ""),
        (None, HTTP, {"HTTP_PROXY": P, "NO_PROXY": "llm.test"}, ""),
        (None, "http://127.0.0.1", {"HTTP_PROXY": P}, ""),
        (None, "unix:/run/x:/v1", {"ALL_PROXY": P}, ""),
        ("environment", HTTP, {"HTTP_PROXY": P}, ""),
        (P, HTTP, {"HTTP_PROXY": P}, ""),
    ],
)
def test_a_proxy_of_the_environment_that_is_not_used_is_told(
    given: str | None, url: str, env: dict[str, str], told: str
) -> None:
    text = ignored(given, url, env)
    assert text.partition(" ")[0] == told
    assert ("--proxy environment" in text) == bool(told)
