"""From blocks of examples to tensors."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch

from podium.inference.planner.prompt import PromptEncoder
from training.examples import Block
from training.network import Packed

__all__ = ["pack", "read_only"]

_LONGEST_SEGMENT = 160
_LONGEST_PREFIX = 320  # beyond it the examples are left out
_NOTHING = -100
# Yes or no decides more than any one token of a call does.
_DECISION_WEIGHT = 2.0


def pack(blocks: Sequence[Block], encoder: PromptEncoder) -> Packed:
    """Encode blocks; requests that are too long are left out."""
    tokens: list[int] = []
    positions: list[int] = []
    targets: list[int] = []
    weights: list[float] = []
    layout: list[tuple[int, int, list[int]]] = []
    for block in blocks:
        prefix = encoder.tool(block.tool)
        if len(prefix) > _LONGEST_PREFIX:
            prefix = encoder.tool(block.tool.split("\n", 1)[0])
        first, lengths = len(tokens), []
        tokens += prefix
        positions += range(len(prefix))
        targets += [_NOTHING] * len(prefix)
        weights += [0.0] * len(prefix)
        encoded = [(item, encoder.request(item.request), encoder.answer(item.lines)) for item in block.items]
        # The network wants them sorted: see `network.Packed`.
        for _, asked, told in sorted(encoded, key=lambda entry: len(entry[1]) + len(entry[2])):
            segment = [*asked, *told[:-1]]
            if len(segment) > _LONGEST_SEGMENT:
                continue
            lengths.append(len(segment))
            tokens += segment
            positions += range(len(prefix), len(prefix) + len(segment))
            targets += [_NOTHING] * (len(asked) - 1) + told
            weights += [0.0] * (len(asked) - 1) + [_DECISION_WEIGHT] + [1.0] * (len(told) - 1)
        layout.append((first, len(prefix), lengths))
    return Packed(torch.tensor(tokens), torch.tensor(positions), layout, torch.tensor(targets), torch.tensor(weights))


def read_only(texts: Sequence[Sequence[int]]) -> Packed:
    """Pack texts of tokens with nothing to learn in them."""
    tokens = torch.tensor([token for text in texts for token in text])
    starts = list(accumulate((len(text) for text in texts), initial=0))
    return Packed(
        tokens,
        torch.cat([torch.arange(len(text)) for text in texts]),
        [(start, len(text), []) for start, text in zip(starts, texts, strict=False)],
        torch.full_like(tokens, _NOTHING),
        torch.zeros(len(tokens)),
    )
