"""Keys by which EvalScope's datasets say in a body what only that request needs."""

from typing import Any

import pytest

from perfbench_plugins.api.base import ApiPluginBase
from perfbench_plugins.datasets.base import Item, item_of

BODY = {"model": "m", "messages": []}


@pytest.mark.parametrize(
    ("yielded", "item"),
    [
        ("text", Item("text")),
        (Item("text", 1.0), Item("text", 1.0)),
        (BODY, Item(BODY)),
        ({**BODY, "__evalscope_arrival_offset": 2}, Item(BODY, 2.0)),
        ({**BODY, "__evalscope_request_id": 7}, Item(BODY, request_id="7")),
        ({**BODY, "__evalscope_is_warmup": True}, Item(BODY, is_warmup=True)),
        ({**BODY, "__evalscope_headers": {"X-A": "b", "Host": "c"}}, Item(BODY, headers={"X-A": "b"})),
        ({**BODY, "__evalscope_unknown": 1}, Item(BODY)),
    ],
)
def test_they_become_fields_of_an_item_and_never_reach_the_server(yielded: Any, item: Item) -> None:
    assert item_of(yielded) == item


def test_an_api_plugin_may_put_them_in_too() -> None:
    body = {**BODY, "__evalscope_headers": {"X-A": "own", "X-B": "own", "Connection": "close"}, "__evalscope_x": 1}
    headers, request_id = ApiPluginBase.extract_body_meta({**body, "__evalscope_request_id": "r"}, {"X-A": "run's"})
    assert (headers, request_id) == ({"X-A": "run's", "X-B": "own"}, "r")
    ApiPluginBase.extract_body_meta(body, {})
    assert body == BODY
