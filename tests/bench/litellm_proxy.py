"""LiteLLM's proxy, in a virtual environment of its own that is thrown away afterwards."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import httpx

from bench.child import Child
from bench.fake_openai_process import ANSWER, MODEL
from support.server import free_port

LITELLM = "1.100.0"
INSTALL_SECONDS = 900
START_SECONDS = 120.0


@dataclass(frozen=True)
class LitellmProxy:
    """An installed proxy and its configuration."""

    folder: Path
    python: Path
    upstream: str
    port: int

    @classmethod
    def install(cls, where: Path | None, folder: Path, upstream: str) -> Self | None:
        """Install the proxy; return None, and say so, where that is not possible.

        Args:
            where: an environment to keep or to use again; None makes one under `folder`.
            upstream: base URL of the model.
        """
        home = where or folder / "litellm"
        python = home / "bin" / "python"
        if not python.exists():
            venv.create(home, with_pip=True)
        command = [str(python), "-m", "pip", "install", "--quiet", f"litellm[proxy]=={LITELLM}"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            done = subprocess.CompletedProcess(command, 1, "", f"no end within {INSTALL_SECONDS} s")
        if done.returncode:
            print(f"LiteLLM {LITELLM} cannot be installed here: {done.stderr.strip()[-300:]}", file=sys.stderr)
            return None
        return cls(folder, python, upstream, free_port())

    def start(self, *, core: int) -> Child:
        """Return the proxy's process: one worker, no database, no keys, no logging, nothing sent outside."""
        parameters = {"model": f"openai/{MODEL}", "api_base": self.upstream, "api_key": "none"}
        settings = {
            "model_list": [{"model_name": MODEL, "litellm_params": parameters}],
            "litellm_settings": {"telemetry": False, "callbacks": [], "request_timeout": 60},
        }
        config = self.folder / "litellm.json"  # YAML reads JSON
        config.write_text(json.dumps(settings), encoding="utf-8")
        program = str(self.python.parent / "litellm")
        arguments = ["--config", str(config), "--host", "127.0.0.1", "--port", str(self.port), "--num_workers", "1"]
        quiet = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "NO_PROXY": "127.0.0.1"}
        log = self.folder / "litellm.log"
        return Child([program, *arguments], core=core, environment={**quiet, "PYTHONPATH": ""}, log=log, reports=False)

    def client(self, connections: int) -> httpx.AsyncClient:
        """Return a client that keeps its connections."""
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        url = f"http://127.0.0.1:{self.port}"
        return httpx.AsyncClient(base_url=url, limits=limits, timeout=60.0, trust_env=False)

    async def ask(self, client: httpx.AsyncClient) -> None:
        """Ask for one short answer, not streamed."""
        message = {"role": "user", "content": "Is water wet? Answer with one word."}
        body = {"model": MODEL, "messages": [message], "max_tokens": 1}
        response = await client.post("/v1/chat/completions", json=body)
        response.raise_for_status()
        text = response.json()["choices"][0]["message"]["content"]
        if text != ANSWER:
            raise AssertionError(f"the answer was {text!r}")

    async def wait_ready(self, client: httpx.AsyncClient, child: Child) -> None:
        """Wait until it answers."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                await self.ask(client)
                return
            except httpx.HTTPError as error:
                if time.monotonic() > deadline or not child.running:
                    tail = (self.folder / "litellm.log").read_text(encoding="utf-8", errors="replace")[-500:]
                    raise RuntimeError(f"LiteLLM's proxy did not start: {tail}") from error
                await asyncio.sleep(0.25)
