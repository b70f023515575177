"""Trains the planner: `python -m training.train --model FOLDER --out FOLDER --steps 600`; `make train` calls it.

Resumable: with the same arguments it goes on from the checkpoint in `--out`, which is written at every
evaluation. Logged: `log.jsonl` in `--out` has a line for each beginning and each update, see `_train`.
The same cards, seed and numbers of workers and threads give the same weights; an update's blocks come
from its own number, so a resumed run sees what an uninterrupted one would have seen.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  # the usual name
from torch import distributed, multiprocessing

from podium.inference.planner.prompt import PromptEncoder
from podium.inference.tokenizer import Tokenizer
from training.cards import CARDS, Domain, load_domain
from training.examples import Block, scenes
from training.network import Planner
from training.packing import pack, read_only
from training.talk import talks

__all__ = ["evaluate", "main", "split_domains"]

# Whole fields that are never trained on: the loss on them tells learning from remembering.
HELD_OUT = frozenset({"board_games", "insurance_claims", "errands"})
_DEV_SCENES, _DEV_SEED = 8, 77
_NO_TOKENS = 2  # "no" and the end; a call has more
_AT_ONCE = 5
_WINDOW = 8  # updates whose blocks are made, sorted and dealt out together
_WARM_UP = 15  # updates in which the rate rises
# What an update weighs, about; the exact weight is known only when all blocks were read.
_USUAL_WEIGHT = 500
_LONGEST_STEP = 1.0  # the gradient's norm is cut to it


# What is summed: over pairs of tool and request `loss, its weight, decided, pairs, exact, calls`, decided being the
# pairs whose yes or no was right, exact the calls whose every token was the likeliest one; over texts that are not
# planning `drift, tokens`, see `_drift`.
_FIGURES = 8
# Such texts that each worker reads an update, and what a token of them weighs beside one of a call.
_TALKS, _TALK_WEIGHT = 2, 0.5


def _losses(net: Planner, chunk: Sequence[Block], encoder: PromptEncoder) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the weighted loss, and the figures."""
    packed = pack(chunk, encoder)
    hidden = net(packed)
    learned = packed.targets >= 0
    logits = net.logits(hidden[learned]).float()
    targets, weights = packed.targets[learned], packed.weights[learned]
    loss = (F.cross_entropy(logits, targets, reduction="none") * weights).sum()
    figures = torch.zeros(_FIGURES)
    with torch.no_grad():
        right = torch.zeros_like(packed.targets, dtype=torch.bool)
        right[learned] = logits.argmax(-1) == targets
        for first, prefix, lengths in packed.blocks:
            start = first + prefix
            for length in lengths:
                told = right[start : start + length][learned[start : start + length]]
                call = len(told) > _NO_TOKENS
                figures[:6] += torch.tensor([0, 0, told[0], 1, call and told.all(), call])
                start += length
        figures[:2] = torch.stack([loss, weights.sum()])
    return loss, figures


def _drift(net: Planner, texts: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return how far the model has come from its untrained self on some texts, and the figures.

    That is the Kullback-Leibler divergence of the untrained model's next tokens from its own, in nats, summed over all
    tokens.
    """
    packed = read_only(texts)
    with torch.no_grad(), net.untrained():
        before = net.logits(net(packed)).float().log_softmax(-1)
    now = net.logits(net(packed)).float().log_softmax(-1)
    drift = F.kl_div(now, before, log_target=True, reduction="sum")
    figures = torch.zeros(_FIGURES)
    figures[6:] = torch.tensor([drift.item(), len(packed.tokens)])
    return drift, figures


@torch.no_grad()
def evaluate(net: Planner, held_out: Sequence[Block], encoder: PromptEncoder) -> torch.Tensor:
    """Return the figures on fields never trained on. Exact is what greedy decoding would get exactly right."""
    seen = torch.zeros(_FIGURES)
    for chunk in _together(held_out):
        seen += _losses(net, chunk, encoder)[1]
    return seen


def _shares(figures: torch.Tensor) -> dict[str, float]:
    loss, weight, decided, pairs, exact, calls, drift, tokens = figures.tolist()
    shares = {"loss": loss / weight, "decided": decided / pairs, "exact": exact / max(1, calls)}
    return shares | ({"drift": drift / tokens} if tokens else {})


def _together(chunk: Sequence[Block]) -> Iterator[Sequence[Block]]:
    """Part the tools of a scene: what is read at once is what has to be kept in memory at once."""
    for first in range(0, len(chunk), _AT_ONCE):
        yield chunk[first : first + _AT_ONCE]


def _rate(step: int, steps: int, peak: float, warm: int) -> float:
    if step < warm:
        return peak * (step + 1) / warm
    return peak * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm))))


def split_domains() -> tuple[list[Domain], list[Domain]]:
    """Return the fields to train on, and those held out."""
    every = [load_domain(path) for path in sorted(CARDS.glob("*.toml"))]
    return [d for d in every if d.name not in HELD_OUT], [d for d in every if d.name in HELD_OUT]


def _size(scene: Sequence[Block]) -> int:
    """Return about how much there is to read in a scene, in characters."""
    return sum(len(b.tool) + sum(40 + len(i.request) + sum(map(len, i.lines)) for i in b.items) for b in scene)


def _shared(train: Sequence[Domain], step: int, options: argparse.Namespace) -> list[list[Block]]:
    """Return each worker's scene of an update: of like size, or the workers would wait for one another."""
    window, place = divmod(step, _WINDOW)
    stream = scenes(train, options.seed * 1_000_003 + window, options.requests)
    made = sorted(itertools.islice(stream, _WINDOW * options.workers), key=_size)
    order = random.Random(window).sample(range(_WINDOW), _WINDOW)
    first = order[place] * options.workers
    return made[first : first + options.workers]


@dataclass(frozen=True, slots=True)
class _Learner:
    """One worker's network and what changes it; all workers make the same updates."""

    net: Planner
    optimiser: torch.optim.AdamW
    encoder: PromptEncoder
    workers: int

    def _sum(self, *tensors: torch.Tensor) -> None:
        """Add up what the workers found, in place."""
        for tensor in tensors if self.workers > 1 else ():
            distributed.all_reduce(tensor)

    def update(self, chunk: Sequence[Block], texts: Sequence[Sequence[int]], rate: float) -> tuple[torch.Tensor, float]:
        """Learn from this worker's blocks of an update, and keep what else it knows by this worker's texts.

        Returns:
            The figures of all workers, and the gradient's norm.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        seen = torch.zeros(_FIGURES)
        for part in _together(chunk):
            loss, figures = _losses(self.net, part, self.encoder)
            (loss / _USUAL_WEIGHT).backward()
            seen += figures
        drift, figures = _drift(self.net, texts)
        (_TALK_WEIGHT * drift / _USUAL_WEIGHT).backward()
        seen += figures
        parameters = list(self.net.parameters())
        flat = torch.cat([parameter.grad.flatten() for parameter in parameters if parameter.grad is not None])
        self._sum(flat, seen)
        flat *= _USUAL_WEIGHT / seen[1]
        norm = float(flat.norm())
        flat *= min(1.0, _LONGEST_STEP / (norm + 1e-6))
        start = 0
        for parameter in parameters:
            parameter.grad = flat[start : start + parameter.numel()].view_as(parameter)
            start += parameter.numel()
        self.optimiser.step()
        self.optimiser.zero_grad()
        return seen, norm

    def judge(self, held_out: Sequence[Block]) -> dict[str, float]:
        """Return what all workers found in their shares of the held-out blocks."""
        figures = evaluate(self.net, held_out, self.encoder)
        self._sum(figures)
        return {f"dev_{name}": value for name, value in _shares(figures).items()}

    def save(self, path: Path, step: int) -> None:
        """Write a checkpoint, whole or not at all."""
        partial = path.with_suffix(".part")
        torch.save({"net": self.net.state_dict(), "optimiser": self.optimiser.state_dict(), "step": step}, partial)
        partial.replace(path)

    def resume(self, path: Path) -> int:
        """Go on from a checkpoint, if there is one; return the number of updates that were made."""
        if not path.exists():
            return 0
        held = torch.load(path, weights_only=True)
        self.net.load_state_dict(held["net"])
        self.optimiser.load_state_dict(held["optimiser"])
        return int(held["step"])


def main() -> None:
    """Train, or go on training."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="folder of the pulled, untrained model")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--requests", type=int, default=12, help="requests a scene; each worker has one an update")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--first-layer", type=int, default=8, help="the lowest layer that is adapted")
    parser.add_argument("--rate", type=float, default=8e-4)
    parser.add_argument("--seed", type=int, default=1)
    # What one core computes while another waits is lost: two processes of a thread each beat one of two.
    parser.add_argument("--workers", type=int, default=2, help="processes that learn side by side")
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--every", type=int, default=40, help="updates between evaluations and checkpoints")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "meeting").unlink(missing_ok=True)
    if options.workers > 1:
        multiprocessing.spawn(_train, (options,), options.workers)
    else:
        _train(0, options)


def _learner(rank: int, options: argparse.Namespace, encoder: PromptEncoder) -> _Learner:
    """Meet the other workers and load the model."""
    torch.set_num_threads(options.threads)
    if options.workers > 1:
        meeting = f"file://{options.out.resolve() / 'meeting'}"
        distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=options.workers)
    torch.manual_seed(options.seed)
    net = Planner(
        options.model / "model.gguf",
        options.rank,
        2.0 * options.rank,
        seed=options.seed,
        first_layer=options.first_layer,
    )
    optimiser = torch.optim.AdamW(net.parameters(), lr=options.rate, betas=(0.9, 0.99), weight_decay=0.0)
    return _Learner(net, optimiser, encoder, options.workers)


def _train(rank: int, options: argparse.Namespace) -> None:
    """Train as one of the workers. The first of them keeps the log and the checkpoint.

    A line of the log is `{"begin": step, ...options}` or
    `{"step", "loss", "decided", "exact", "drift", "pairs", "rate", "norm", "seconds"}`: before the update the loss a
    weighted token, the share of pairs of tool and request that were rightly called fitting or not, and of calls
    that were right in every token; nats a token of texts that are not planning; the learning rate, the norm of the
    gradient before it was cut, seconds of the update; with an evaluation also `dev_loss`, `dev_decided`, `dev_exact`.
    """
    tokenizer = Tokenizer.from_directory(options.model)
    learner = _learner(rank, options, PromptEncoder(tokenizer))
    train, held_out = split_domains()
    dev = [block for scene in itertools.islice(scenes(held_out, _DEV_SEED), _DEV_SCENES) for block in scene]
    checkpoint, leading = options.out / "checkpoint.pt", rank == 0
    step = learner.resume(checkpoint)

    def tell(line: Mapping[str, Any]) -> None:
        if leading:
            with (options.out / "log.jsonl").open("a", encoding="utf-8") as log:
                log.write(json.dumps(line, default=str) + "\n")

    cards = sum(len(domain.cards) for domain in train)
    tell({"begin": step, "domains": len(train), "cards": cards, **vars(options)})
    while step < options.steps:
        began = time.perf_counter()
        rate = _rate(step, options.steps, options.rate, _WARM_UP)
        # Every update's blocks come from its own number: a resumed run needs nothing else to go on.
        number = (options.seed * 1_000_003 + step) * options.workers + rank
        texts = list(itertools.islice(talks(train, number, tokenizer), _TALKS))
        seen, norm = learner.update(_shared(train, step, options)[rank], texts, rate)
        step += 1
        told = {"step": step, **_shares(seen), "pairs": int(seen[3]), "rate": rate, "norm": norm}
        told["seconds"] = time.perf_counter() - began
        if step % options.every == 0 or step == options.steps:
            told |= learner.judge(dev[rank :: options.workers])
            if leading:
                learner.save(checkpoint, step)
        tell(told)


if __name__ == "__main__":
    main()
