"""Writes a checkpoint as the adapter that ships: `python -m training.export --run FOLDER --model FOLDER --out FILE`.

Prints the digest, which `podium.inference.adapter.SHIPPED` must name.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import torch

from podium.inference.adapter import AdapterHeader, pack
from podium.inference.planner.model import PLANNER_DIALECT
from training.network import Planner

__all__ = ["main"]


def _facts(run: Path) -> dict[str, Any]:
    """Return what the run's log says of the training."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    begin = next(line for line in reversed(lines) if "begin" in line)
    steps = {line["step"]: line for line in lines if "step" in line}
    last: dict[str, Any] = next((line for line in reversed(list(steps.values())) if "dev_loss" in line), {})
    return {
        "pairs": sum(line["pairs"] for line in steps.values()),
        "updates": max(steps),
        "cards": begin["cards"],
        "seed": begin["seed"],
        "rate": begin["rate"],
        "held_out_loss": round(last.get("dev_loss", 0.0), 4),
        "held_out_decided": round(last.get("dev_decided", 0.0), 4),
        "held_out_exact": round(last.get("dev_exact", 0.0), 4),
    }


def main() -> None:
    """Write the adapter."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="folder that training wrote")
    parser.add_argument("--model", type=Path, required=True, help="folder of the pulled, untrained model")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--version", default="1")
    options = parser.parse_args()
    held = torch.load(options.run / "checkpoint.pt", weights_only=True)["net"]
    rank = next(value.shape[0] for name, value in held.items() if name.startswith("a."))
    first = min(int(name.removeprefix("a.").split("-")[0]) for name in held if name.startswith("a."))
    net = Planner(options.model / "model.gguf", rank, 2.0 * rank, first_layer=first)
    net.load_state_dict(held)
    manifest = json.loads((options.model / "manifest.json").read_text(encoding="utf-8"))
    header = AdapterHeader(
        name="planner",
        version=options.version,
        base_sha256=manifest["source_sha256"],
        rank=rank,
        scale=net.scale,
        dialect=PLANNER_DIALECT,
        training=_facts(options.run),
    )
    content = pack(net.additions(), header)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_bytes(content)
    print(f"{hashlib.sha256(content).hexdigest()}  {options.out} ({len(content):,} bytes)")


if __name__ == "__main__":
    main()
