"""Invented tools of a bank. They move no money and do nothing."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import Field

from podium.tools import tool

Account = Literal["current", "savings", "joint", "credit_card"]
CardEnding = Annotated[str, Field(pattern=r"^\d{4}$")]
Money = Annotated[float, Field(gt=0)]


@tool(side_effects="none")
def account_balance(accounts: list[Account]) -> str:
    """Tell how much money is in one or several of the customer's accounts.

    Args:
        accounts: Which accounts; several can be asked for at once.
    """
    return f"{accounts}"


@tool(side_effects="none")
def list_transactions(
    account: Account, since: date | None = None, until: date | None = None, min_amount: float | None = None
) -> list[str]:
    """List what has gone in and out of an account.

    Args:
        account: Which account.
        since: First day to include.
        until: Last day to include.
        min_amount: Leave out transactions below this amount.
    """
    return [f"{account} {since} {until} {min_amount}"]


@tool()
def send_payment(
    payee: str,
    amount: Money,
    from_account: Account = "current",
    on: date | None = None,
    reference: str | None = None,
) -> str:
    """Pay somebody once.

    Args:
        payee: Who receives the money.
        amount: How much.
        from_account: Account that it is taken from.
        on: Day of the payment; at once when left out.
        reference: Text that the payee sees with it.
    """
    return f"{payee} {amount} {from_account} {on} {reference}"


@tool()
def create_standing_order(
    payee: str,
    amount: Money,
    frequency: Literal["weekly", "monthly", "quarterly", "yearly"],
    first_on: date,
    reference: str | None = None,
) -> str:
    """Set up a payment that repeats by itself.

    Args:
        payee: Who receives the money.
        amount: How much each time.
        frequency: How often.
        first_on: Day of the first payment.
        reference: Text that the payee sees with it.
    """
    return f"{payee} {amount} {frequency} {first_on} {reference}"


@tool(side_effects="idempotent")
def change_standing_order(payee: str, new_amount: Money) -> str:
    """Change how much an existing standing order pays each time.

    Args:
        payee: Who receives the money.
        new_amount: The amount from now on.
    """
    return f"{payee} {new_amount}"


@tool()
def cancel_standing_order(payee: str) -> str:
    """End a standing order for good.

    Args:
        payee: Who has been receiving the money.
    """
    return payee


@tool()
def freeze_card(
    card_ending: CardEnding, reason: Literal["lost", "stolen", "suspicious"], replacement: bool = False
) -> str:
    """Block a bank card so that nobody can pay with it.

    Args:
        card_ending: Last four digits of the card.
        reason: Why it is blocked: it was lost, it was stolen, or there was a suspicious payment.
        replacement: Whether to send a new card.
    """
    return f"{card_ending} {reason} {replacement}"


@tool(side_effects="idempotent")
def set_card_limit(
    card_ending: CardEnding,
    limit: Annotated[int, Field(ge=0)],
    applies_to: Literal["withdrawals", "shop_purchases", "online_purchases"],
) -> str:
    """Set how much can be spent with a card in a day.

    Args:
        card_ending: Last four digits of the card.
        limit: Most that is allowed in a day.
        applies_to: What is limited: cash from machines, payments in shops, or payments on the internet.
    """
    return f"{card_ending} {limit} {applies_to}"
