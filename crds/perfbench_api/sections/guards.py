"""`spec.load.guards`: what ends a run, or a stage, that is no longer worth its cost."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from perfbench_api.values import Section, Share, Tokens, Unit

Money = Annotated[float, Unit("of any currency")]


class Budget(Section):
    """The most that a run may use, warm-up included; requests in flight are finished."""

    requests: int | None = Field(None, ge=1)
    """Requests that have ended."""
    tokens: Tokens | None = Field(None, ge=1)
    """Prompt and output tokens of requests that succeeded."""
    money: Money | None = Field(None, gt=0)
    """What these tokens cost, by the two prices."""
    input_price: Money | None = Field(None, ge=0)
    """Price of a million prompt tokens."""
    output_price: Money | None = Field(None, ge=0)
    """Price of a million output tokens."""

    @model_validator(mode="after")
    def _money_has_prices(self) -> Self:
        if self.requests is None and self.tokens is None and self.money is None:
            raise ValueError("limits nothing; give requests, tokens or money")
        if self.money is not None and (self.input_price is None or self.output_price is None):
            raise ValueError("money: what a token costs is not known; give inputPrice and outputPrice")
        if self.money is not None and self.input_price == self.output_price == 0:
            raise ValueError("money: nothing is ever spent at two prices of 0; give one that is more")
        if self.money is None and (self.input_price is not None or self.output_price is not None):
            raise ValueError("inputPrice and outputPrice belong to money; give it, or leave them out")
        return self


class Guards(Section):
    """What ends a run or a stage early."""

    failed_share: Share | None = None
    """End the run when surely more than this share of a stage's requests fail: text such as 20%, or the number 0.2."""
    over_saturation: bool = False
    """End an open-loop stage in which the queue grows without end; the next stage goes on."""
    budget: Budget | None = None
    """End the run when it has used so much."""

    @model_validator(mode="after")
    def _is_a_share(self) -> Self:
        if self.failed_share is not None and not 0 < self.failed_share < 1:
            raise ValueError(f"failedShare {self.failed_share:g} is no share between 0 and 1; write 20%, or 0.2")
        return self
