"""MockSettings: every setting is explained, and nonsense is refused in one clear line."""

from typing import Any

import pytest

from perfbench_runner.mock.settings import FIELDS, MockSettings


def test_every_setting_has_help_and_a_kind() -> None:
    assert {setting.name for setting in FIELDS} == set(MockSettings().to_dict())
    for setting in FIELDS:
        assert setting.help
        assert setting.kind in (bool, int, float, str)
        if setting.name.endswith("_s"):
            assert setting.unit == "s"


def test_settings_survive_the_trip_through_plain_data() -> None:
    settings = MockSettings(ttft_s=0.2, output_tokens=7, api_key="k", usage="never")
    assert MockSettings.from_dict(settings.to_dict()) == settings


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"port": 99999}, "port must be from 0 to 65535"),
        ({"ttft": 1}, "unknown setting 'ttft'; there are .*ttft_s"),
        ({"ttft_s": -1}, "ttft_s must be a number from 0 on"),
        ({"ttft_s": float("inf")}, "ttft_s must be a number from 0 on, not inf"),
        ({"ttft_s": float("nan")}, "ttft_s must be a number from 0 on, not nan"),
        ({"ttft_s": "1s"}, "ttft_s must be a number, not '1s'"),
        ({"output_tokens": 1.5}, "output_tokens must be a whole number"),
        ({"output_tokens": 0}, "at least 1"),
        ({"slots": 0}, "slots must be at least 1"),
        ({"prefill_speed": 0.0}, "prefill_speed must be more than 0"),
        ({"batch_slowdown": 0.1}, "set slots, too"),
        ({"tool_call": 1}, "tool_call must be true or false"),
        ({"seed": True}, "seed must be a whole number"),
        ({"usage": "sometimes"}, "usage must be one of request, always, never"),
        ({"error_rate": 1.5}, "error_rate is a share"),
        ({"error_status": 200}, "error_status must be from 400 to 599"),
        ({"itl_s": 0.01, "itl_jitter_s": 0.02}, "itl_jitter_s must not exceed itl_s"),
    ],
)
def test_nonsense_is_refused_by_name(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^mock: .*{message}"):
        MockSettings.from_dict(values)


def test_whole_numbers_do_for_seconds() -> None:
    assert MockSettings.from_dict({"ttft_s": 1}).ttft_s == 1
