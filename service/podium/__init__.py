"""Podium: plans, runs and streams the tool calls behind a plain-language request.

`podium.v1` holds the generated contract, `podium.tools` what tool authors import. Everything
else is the server, and is not meant to be imported by callers: they use `podium_client`.
"""

__version__ = "0.1.0"
