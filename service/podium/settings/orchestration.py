"""Settings of the orchestration core: slots, prediction, the cache of results, budgets and prices."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, model_validator

from podium.settings._base import Group

__all__ = ["BudgetSettings", "CacheSettings", "GovernorSettings", "PriceTable", "SpeculationSettings"]

_Count = Annotated[int, Field(ge=0, le=10**15)]
_TENANT_WEIGHT = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}=[0-9]{1,4}(\.[0-9]{1,3})?$"
_TOOL_LIMIT = r"^[a-z][a-z0-9_]{0,63}=[1-9][0-9]{0,4}$"


class GovernorSettings(Group):
    """Who gets the next slot for a tool call. The slots themselves: run.parallel and its like."""

    tenant_parallel: int = Field(
        default=0, ge=0, le=100_000, description="Tool calls of one tenant at once; 0 for no limit of its own."
    )
    tool_parallel: tuple[Annotated[str, Field(pattern=_TOOL_LIMIT)], ...] = Field(
        default=(), description="Calls at once of single tools: NAME=CALLS."
    )
    tenant_weights: tuple[Annotated[str, Field(pattern=_TENANT_WEIGHT)], ...] = Field(
        default=(),
        description="Shares of tenants when slots are scarce: TENANT=WEIGHT; 1 for those not named.",
    )
    max_queued: int = Field(
        default=10_000, ge=1, le=1_000_000, description="Tool calls that may wait for a slot; more are refused."
    )
    max_queued_run: int = Field(
        default=1_000, ge=1, le=100_000, description="Tool calls of one run that may wait for a slot."
    )
    adaptive: bool = Field(
        default=True,
        description="Whether a tool that slows down or fails under load gets fewer calls at once until it recovers.",
    )


class SpeculationSettings(Group):
    """Tool calls started before the model asks for them."""

    mode: Literal["safe", "off"] = Field(
        default="safe",
        description="safe: calls that history makes likely are started early, of tools without side effects only; off:"
        " none. A request may say otherwise.",
    )
    min_confidence: float = Field(
        default=0.6, gt=0, le=1, description="Share of like cases from which on a call is predicted."
    )
    max_per_run: int = Field(default=4, ge=1, le=100, description="Predicted calls of one run at once.")
    max_waste_share: float = Field(
        default=0.25,
        ge=0,
        le=1,
        description="Tool time that may be spent on calls nobody asked for, as a share of a tenant's tool time; 0 for"
        " no prediction at all.",
    )


class CacheSettings(Group):
    """Results of tools that allow it, kept for equal calls of the same tenant."""

    ttl_seconds: float = Field(
        default=3600.0,
        gt=0,
        le=86_400 * 30,
        description="Longest time for which a result is reused, in seconds; each tool says how long its own may be.",
    )
    max_entries: int = Field(default=1000, ge=1, le=10_000_000, description="Results kept in memory.")
    max_bytes: int = Field(
        default=64 * 1024 * 1024, ge=4096, le=1024**4, description="Bytes of results kept in memory, compressed."
    )
    compress: bool = Field(default=True, description="Whether results over 1 KiB are kept compressed.")
    redis_url: SecretStr | None = Field(
        default=None,
        description="Redis that several servers share as a second tier; without it, or while it is down, memory only.",
        examples=["redis://redis:6379/0"],
    )


class BudgetSettings(Group):
    """What callers may use. Money is in millionths of the currency (1.50: 1500000). 0 is no limit."""

    enforce: bool = Field(default=True, description="Whether budgets refuse; otherwise they only count.")
    currency: str = Field(default="USD", pattern=r"^[A-Z]{3}$", description="Currency of every price and budget.")
    on_exhausted: Literal["stop", "finish", "ask"] = Field(
        default="finish",
        description="What a run does when a budget is used up: stop (it fails), finish (it answers from what it has)"
        " or ask (it waits until somebody allows more). A request may say otherwise.",
    )
    run_cost_micros: _Count = Field(default=0, description="Money of one run.")
    principal_tokens_per_day: _Count = Field(default=0, description="Tokens of one principal a day (UTC).")
    principal_cost_micros_per_day: _Count = Field(default=0, description="Money of one principal a day.")
    principal_calls_per_day: _Count = Field(default=0, description="Tool calls of one principal a day.")
    principal_tokens_per_month: _Count = Field(default=0, description="Tokens of one principal a month.")
    principal_cost_micros_per_month: _Count = Field(default=0, description="Money of one principal a month.")
    principal_calls_per_month: _Count = Field(default=0, description="Tool calls of one principal a month.")
    tenant_tokens_per_day: _Count = Field(default=0, description="Tokens of one tenant a day.")
    tenant_cost_micros_per_day: _Count = Field(default=0, description="Money of one tenant a day.")
    tenant_calls_per_day: _Count = Field(default=0, description="Tool calls of one tenant a day.")
    tenant_tokens_per_month: _Count = Field(default=0, description="Tokens of one tenant a month.")
    tenant_cost_micros_per_month: _Count = Field(default=0, description="Money of one tenant a month.")
    tenant_calls_per_month: _Count = Field(default=0, description="Tool calls of one tenant a month.")
    unknown_price: Literal["deny", "ceiling"] = Field(
        default="deny",
        description="What becomes of a remote model without a price where a budget of money applies: deny (it is not"
        " used) or ceiling (it counts with the ceiling prices).",
    )
    ceiling_prompt_micros: _Count = Field(
        default=0, description="Ceiling price of a million prompt tokens; for unknown_price = ceiling."
    )
    ceiling_completion_micros: _Count = Field(
        default=0, description="Ceiling price of a million completion tokens; for unknown_price = ceiling."
    )

    @model_validator(mode="after")
    def _ceiling_is_given(self) -> Self:
        if self.unknown_price == "ceiling" and not (self.ceiling_prompt_micros and self.ceiling_completion_micros):
            raise ValueError("unknown_price = ceiling needs ceiling_prompt_micros and ceiling_completion_micros")
        return self


class PriceTable(Group):
    """What a model costs. Models on this machine cost nothing unless they have a price."""

    prompt_micros: _Count = Field(description="Price of a million prompt tokens, in millionths of budgets.currency.")
    completion_micros: _Count = Field(description="Price of a million completion tokens.")
    cached_micros: _Count | None = Field(
        default=None, description="Price of a million prompt tokens that came from a cache; the full price if not set."
    )
