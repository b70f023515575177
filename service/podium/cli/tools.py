"""`podium tools`: the tools of a server."""

# ruff: noqa: PLC0415  commands import what they need when they run

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from podium.cli.connection import Server, ask
from podium.cli.failures import CommandFailed, Exit, reported
from podium.cli.options import Address, ApiKeyEnv, TlsRoots, UseTls
from podium.cli.terminal import clean, print_table

if TYPE_CHECKING:
    from podium_client import ToolCall, ToolInfo

__all__ = ["app"]

app = typer.Typer(help="List and call the tools of a server.", no_args_is_help=True)

_SUCH_AS = """quote them for your shell, such as '{"expression": "19 * 21"}'"""


@app.command("list")
def list_tools(
    address: Address = None, api_key_env: ApiKeyEnv = None, tls: UseTls = False, tls_ca: TlsRoots = None
) -> None:
    """List the tools that you may use."""
    from rich.table import Table
    from rich.text import Text

    with reported():
        server = Server.of(address, api_key_env, tls, tls_ca)
    tools = ask(server, lambda podium: podium.list_tools())
    table = Table("tool", "arguments", "what it does", "effects", "timeout", box=None, pad_edge=False)
    table.columns[0].no_wrap = True
    for tool in tools:
        table.add_row(
            Text(clean(tool.name), "bold"),
            Text(clean(_arguments(tool))),
            Text(clean(tool.description.split("\n", 1)[0])),
            Text(tool.side_effects.lower()),
            Text(f"{tool.timeout.total_seconds():g} s"),
        )
    print_table(table)


@app.command()
def call(
    name: Annotated[str, typer.Argument(help="The tool.")],
    arguments: Annotated[str, typer.Argument(help="Its arguments, one JSON object; - reads standard input.")] = "{}",
    *,
    deadline: Annotated[
        float | None, typer.Option("--deadline", "-d", metavar="SECONDS", min=0.001, help="How long to wait.")
    ] = None,
    address: Address = None,
    api_key_env: ApiKeyEnv = None,
    tls: UseTls = False,
    tls_ca: TlsRoots = None,
) -> None:
    """Call one tool and print its result as JSON."""
    with reported():
        server = Server.of(address, api_key_env, tls, tls_ca)
        payload = _checked(sys.stdin.read() if arguments == "-" else arguments)
    done = ask(server, lambda podium: podium.invoke_tool(name, payload, deadline=deadline))
    with reported(server.address):
        _print(done)


def _print(done: ToolCall) -> None:
    if not done.ok:
        why = f"{done.failure.message} ({done.failure.reason})" if done.failure else done.skipped_because or done.state
        named = why if why.startswith(f"{done.tool}:") else f"{done.tool}: {why}"
        raise CommandFailed(f"{named}; correlation id {done.correlation_id}")
    typer.echo(json.dumps(done.result, indent=2, ensure_ascii=False))


def _checked(text: str) -> bytes:
    try:
        parsed = json.loads(text)
    except ValueError as error:
        raise CommandFailed(f"the arguments are not JSON: {error}", todo=_SUCH_AS, code=Exit.USAGE) from error
    if not isinstance(parsed, dict):
        raise CommandFailed("the arguments are not one JSON object", todo=_SUCH_AS, code=Exit.USAGE)
    return text.encode()


def _arguments(tool: ToolInfo) -> str:
    schema = tool.input_schema
    required = set(schema.get("required", ()))
    return ", ".join(name if name in required else f"[{name}]" for name in schema.get("properties", {}))
