"""`podium questions` and `podium answer`."""

# ruff: noqa: PLC0415  commands import what they need when they run

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from podium.cli.connection import Server, ask
from podium.cli.failures import CommandFailed, Exit, reported
from podium.cli.options import Address, ApiKeyEnv, RunId, TlsRoots, UseTls
from podium.cli.terminal import clean, print_table

if TYPE_CHECKING:
    from podium_client import AsyncPodium, Clarification

__all__ = ["answer", "questions", "value_of"]

_YES, _NO = frozenset({"y", "yes", "true"}), frozenset({"n", "no", "false"})


def questions(
    run_id: Annotated[str, typer.Argument(help="Only those of this run.")] = "",
    *,
    address: Address = None,
    api_key_env: ApiKeyEnv = None,
    tls: UseTls = False,
    tls_ca: TlsRoots = None,
) -> None:
    """List the questions of your runs that wait for an answer."""
    from rich.table import Table
    from rich.text import Text

    with reported():
        server = Server.of(address, api_key_env, tls, tls_ca)
    found = ask(server, lambda podium: _open_questions(podium, run_id))
    table = Table("run", "question", "asks", "answer", "until", box=None, pad_edge=False)
    table.columns[0].no_wrap = True
    for each in found:
        table.add_row(
            Text(clean(each.run_id)),
            Text(clean(each.question_id), "bold"),
            Text(clean(each.prompt)),
            Text(clean(_expected(each))),
            Text(each.expire_time.isoformat(timespec="seconds") if each.expire_time else ""),
        )
    print_table(table)


def answer(
    run_id: RunId,
    question_id: Annotated[str, typer.Argument(help="The question, such as q0.")],
    value: Annotated[
        str | None, typer.Argument(help="The answer: text where text is asked for, yes or no, or JSON.")
    ] = None,
    *,
    skip: Annotated[bool, typer.Option("--skip", help="Leave the question without an answer.")] = False,
    address: Address = None,
    api_key_env: ApiKeyEnv = None,
    tls: UseTls = False,
    tls_ca: TlsRoots = None,
) -> None:
    """Answer a question of a run."""
    with reported():
        server = Server.of(address, api_key_env, tls, tls_ca)
        if (value is None) is not skip:
            raise CommandFailed("give one answer, or --skip", code=Exit.USAGE)
    if value is None:
        ask(server, lambda podium: podium.skip_clarification(run_id, question_id))
    else:
        ask(server, lambda podium: _answer(podium, run_id, question_id, value))


async def _open_questions(podium: AsyncPodium, run_id: str) -> list[Clarification]:
    page = await podium.list_clarifications(run_id)
    found = list(page.clarifications)
    while page.next_page_token:
        page = await podium.list_clarifications(run_id, page_token=page.next_page_token)
        found += page.clarifications
    return found


async def _answer(podium: AsyncPodium, run_id: str, question_id: str, text: str) -> None:
    asked = await podium.get_clarification(run_id, question_id)
    await podium.answer_clarification(run_id, question_id, value_of(text, asked.schema))


def value_of(text: str, schema: dict[str, Any]) -> Any:
    """Return what was typed as the value that the schema asks for: text, yes or no, else JSON, else text."""
    wanted = schema.get("type")
    if wanted == "string":
        return text
    if wanted == "boolean" and text.lower() in _YES | _NO:
        return text.lower() in _YES
    try:
        return json.loads(text)
    except ValueError:
        return text


def _expected(question: Clarification) -> str:
    """Return what answers are possible, and which one counts when none comes."""
    schema = question.schema
    choices = schema.get("enum")
    if isinstance(choices, list):
        wanted = " | ".join(each if isinstance(each, str) else json.dumps(each) for each in choices)
    else:
        wanted = "yes | no" if schema.get("type") == "boolean" else str(schema.get("type", "JSON"))
    default = question.raw.default_json.decode(errors="replace")
    return f"{wanted} (else {default})" if default else wanted
