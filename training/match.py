"""Trains the matcher: `python -m training.match --model FOLDER --out FILE`. Minutes on one core."""

from __future__ import annotations

import argparse
import itertools
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # the usual name

from podium.inference.guided.utterance import analyse
from podium.inference.guided.vectors import WordVectors
from podium.inference.planner.matcher import FIELDS, KINDS, Words, request_words, tool_words
from training.cards import Domain
from training.examples import tool_scenes
from training.train import split_domains

__all__ = ["main"]

_TODAY = date(2026, 11, 21)
_DIMENSIONS = 96


@dataclass(slots=True)
class Batch:
    """One scene: requests against tools."""

    q: torch.Tensor  # (requests, words, 160)
    q_kind: torch.Tensor  # (requests, words): index in KINDS + 1, or 0
    q_mask: torch.Tensor
    t: torch.Tensor
    t_kind: torch.Tensor
    t_mask: torch.Tensor
    t_field: torch.Tensor
    same: torch.Tensor  # (requests, tools, words, tool words): whether the stems agree
    wanted: torch.Tensor  # (requests, tools)


def _padded(words: Sequence[Words], vectors: WordVectors) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    longest = max(1, *(len(w.texts) for w in words))
    rows = np.zeros((len(words), longest, vectors.rows(["a"]).shape[1]), dtype=np.float32)
    kinds, mask = np.zeros((len(words), longest), dtype=np.int64), np.zeros((len(words), longest), dtype=np.float32)
    for index, each in enumerate(words):
        if each.texts:
            rows[index, : len(each.texts)] = vectors.rows(each.texts)
        mask[index, : len(each.texts)] = 1
        for place, text in enumerate(each.texts):
            kinds[index, place] = KINDS.index(text[1:-1]) + 1 if text.startswith("<") else 0
    return torch.from_numpy(rows), torch.from_numpy(kinds), torch.from_numpy(mask)


def batch_of(tools: Sequence[Words], requests: Sequence[Words], wanted: np.ndarray, vectors: WordVectors) -> Batch:
    """Make the tensors of a scene."""
    q, q_kind, q_mask = _padded(requests, vectors)
    t, t_kind, t_mask = _padded(tools, vectors)
    field = np.zeros(t_mask.shape, dtype=np.int64)
    for index, tool in enumerate(tools):
        field[index, : len(tool.fields)] = tool.fields
    same = np.zeros((len(requests), len(tools), q.shape[1], t.shape[1]), dtype=np.float32)
    for i, request in enumerate(requests):
        for j, tool in enumerate(tools):
            places: dict[str, list[int]] = {}
            for place, mark in enumerate(tool.stems):
                places.setdefault(mark, []).append(place)
            for place, mark in enumerate(request.stems):
                same[i, j, place, places.get(mark, [])] = 1
    return Batch(
        q, q_kind, q_mask, t, t_kind, t_mask, torch.from_numpy(field), torch.from_numpy(same), torch.from_numpy(wanted)
    )


class MatchNet(torch.nn.Module):
    """The matcher in PyTorch; `podium.inference.planner.matcher.Matcher` computes the same in numpy."""

    def __init__(self, width: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.project = torch.nn.Parameter(torch.randn(width, _DIMENSIONS, generator=generator) * width**-0.5)
        self.before = torch.nn.Parameter(torch.randn(width, _DIMENSIONS, generator=generator) * 0.2 * width**-0.5)
        self.after = torch.nn.Parameter(torch.randn(width, _DIMENSIONS, generator=generator) * 0.2 * width**-0.5)
        self.kinds = torch.nn.Parameter(torch.randn(len(KINDS) + 1, _DIMENSIONS, generator=generator) * 0.1)
        self.kind_weight = torch.nn.Parameter(torch.zeros(len(KINDS) + 1))
        self.q_weight = torch.nn.Parameter(torch.zeros(width))
        self.t_weight = torch.nn.Parameter(torch.zeros(width))
        self.field_gain = torch.nn.Parameter(torch.ones(len(FIELDS)))
        self.field_weight = torch.nn.Parameter(torch.tensor([1.0, 1.0, -1.0, -1.0, -1.0, -1.0, -1.0]))
        self.same_gain = torch.nn.Parameter(torch.tensor(0.5))
        self.unknown = torch.nn.Parameter(torch.tensor(0.0))
        self.join = torch.nn.Parameter(torch.randn(6, 12, generator=generator) * 0.4)
        self.join_bias = torch.nn.Parameter(torch.zeros(12))
        self.out = torch.nn.Parameter(torch.randn(12, generator=generator) * 0.3)
        self.out_bias = torch.nn.Parameter(torch.tensor(-1.0))

    def _units(self, rows: torch.Tensor, kinds: torch.Tensor) -> torch.Tensor:
        typed = (kinds > 0).float()[..., None]
        nothing = torch.zeros_like(rows[:, :1])
        near = torch.cat([nothing, rows[:, :-1]], 1) @ self.before + torch.cat([rows[:, 1:], nothing], 1) @ self.after
        return F.normalize((rows @ self.project + near) * (1 - typed) + self.kinds[kinds] * typed + 1e-6, dim=-1)

    def _importance(
        self, rows: torch.Tensor, kinds: torch.Tensor, mask: torch.Tensor, weight: torch.Tensor
    ) -> torch.Tensor:
        known = (rows.abs().sum(-1) > 0).float()
        raw = rows @ weight * 4 + (1 - known) * self.unknown
        raw = torch.where(kinds > 0, self.kind_weight[kinds], raw)
        return F.softplus(raw + 0.5) * mask

    def forward(self, batch: Batch) -> torch.Tensor:
        """Return the logit of each pair of request and tool."""
        q, t = self._units(batch.q, batch.q_kind), self._units(batch.t, batch.t_kind)
        like = torch.einsum("iad,jbd->ijab", q, t)
        like = like + F.softplus(self.same_gain) * batch.same
        hidden = -1e4 * (1 - batch.t_mask)
        q_best = (like * self.field_gain[batch.t_field][None, :, None, :] + hidden[None, :, None, :]).amax(-1)
        q_importance = self._importance(batch.q, batch.q_kind, batch.q_mask, self.q_weight)[:, None, :]
        q_sum = q_importance.sum(-1) + 1e-6
        covered = (q_importance * q_best).sum(-1) / q_sum
        t_best = (like - 1e4 * (1 - batch.q_mask)[:, None, :, None]).amax(-2)
        t_importance = self._importance(batch.t, batch.t_kind, batch.t_mask, self.t_weight)
        t_importance = (t_importance * F.softplus(self.field_weight[batch.t_field]))[None]
        explained = (t_importance * t_best).sum(-1) / (t_importance.sum(-1) + 1e-6)
        pooled_q = F.normalize((q * q_importance.squeeze(1)[..., None]).sum(1), dim=-1)
        pooled_t = F.normalize((t * t_importance.squeeze(0)[..., None]).sum(1), dim=-1)
        pooled = pooled_q @ pooled_t.T
        peak = (q_importance * q_best / (q_importance.amax(-1, keepdim=True) + 1e-6)).amax(-1)
        length = torch.log1p(batch.q_mask.sum(-1))[:, None].expand_as(covered) - 2
        total = torch.log1p(q_importance.sum(-1)).expand_as(covered) - 1
        features = torch.stack([covered, explained, pooled, peak, length, total], dim=-1)
        return torch.tanh(features @ self.join + self.join_bias) @ self.out + self.out_bias


def _prepared(domains: Sequence[Domain], seed: int, count: int, vectors: WordVectors) -> list[Batch]:
    found = []
    for specs, requests in itertools.islice(tool_scenes(domains, seed), count):
        names = [spec.name for spec in specs]
        wanted = np.zeros((len(requests), len(names)), dtype=np.float32)
        for row, (_, calls) in enumerate(requests):
            for name in calls:
                wanted[row, names.index(name)] = 1
        words = [request_words(analyse(text, _TODAY)) for text, _ in requests]
        found.append(batch_of([tool_words(spec) for spec in specs], words, wanted, vectors))
    return found


def _loss(net: MatchNet, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    logits = net(batch)
    apart = F.binary_cross_entropy_with_logits(logits, batch.wanted)
    # Which of the tools it is counts as much as whether it is one.
    one = batch.wanted.sum(-1) > 0
    shares = torch.log_softmax(logits * 1.5, dim=-1)
    among = -(shares * batch.wanted).sum(-1)[one] / batch.wanted.sum(-1)[one]
    return apart + 0.5 * (among.mean() if one.any() else torch.tensor(0.0)), logits


def _judge(net: MatchNet, batches: Sequence[Batch]) -> dict[str, float]:
    top = tops = decided = pairs = none = nones = 0.0
    with torch.no_grad():
        for batch in batches:
            logits = net(batch)
            single = batch.wanted.sum(-1) == 1
            top += float((logits[single].argmax(-1) == batch.wanted[single].argmax(-1)).sum())
            tops += float(single.sum())
            decided += float(((logits > 0) == (batch.wanted > 0)).sum())
            pairs += logits.numel()
            empty = batch.wanted.sum(-1) == 0
            none += float((logits[empty].amax(-1) < 0).sum())
            nones += float(empty.sum())
    return {"top1": top / tops, "decided": decided / pairs, "none": none / max(1, nones)}


def main() -> None:
    """Train, report on fields never trained on, and write the parameters."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scenes", type=int, default=3600)
    # A second look at the same scenes makes it worse on fields that it never saw.
    parser.add_argument("--epochs", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    vectors = WordVectors.load(options.model / "model.vectors.npz")
    train, held_out = split_domains()
    batches, dev = _prepared(train, 5, options.scenes, vectors), _prepared(held_out, 6, 60, vectors)
    net = MatchNet(batches[0].q.shape[-1])
    print("before", _judge(net, dev))
    steps = options.epochs * len(batches)
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps, 1e-4)
    order = random.Random(0)
    for epoch in range(options.epochs):
        total = 0.0
        for index in order.sample(range(len(batches)), len(batches)):
            loss, _ = _loss(net, batches[index])
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            total += float(loss.detach())
        print(epoch, round(total / len(batches), 4), _judge(net, dev), flush=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    manifest = json.loads((options.model / "manifest.json").read_text(encoding="utf-8"))
    held = {name: value.detach().numpy().astype(np.float16) for name, value in net.named_parameters()}
    np.savez_compressed(options.out, base_sha256=np.array(manifest["source_sha256"]), **held)


if __name__ == "__main__":
    main()
