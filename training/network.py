"""The embedded model in PyTorch: a Llama read from its GGUF, with trainable low-rank additions.

Built for one shape of data: a block of tools read once, and many requests that each go on from it.
The block's tokens are computed once and every request attends to them, which makes an example cost
a fifth of what it would cost alone, and computes exactly the same.

Method: LoRA (Hu et al. 2021, arXiv 2106.09685), W' = W + (alpha / rank) B A with W frozen.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812  # the usual name
from torch.utils.checkpoint import checkpoint

__all__ = ["ADAPTED", "Packed", "Planner", "Shape"]

# GGUF's names of the weights that are adapted, in the order in which they share an input.
ADAPTED = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a Llama: `heads` query heads share `groups` key heads of `width` each."""

    layers: int
    hidden: int
    heads: int
    groups: int
    width: int
    base: float
    epsilon: float


@dataclass(slots=True)
class Packed:
    """Blocks of tools with their requests, flat.

    Attributes:
        tokens: ids; of each block first its prefix, then its segments one after another.
        positions: of each token, counted from the beginning of its block; segments go on from the prefix.
        blocks: for each block `(first token, prefix length, segment lengths)`.
        targets: of each token the id that follows, or -100 where nothing is learned.
        weights: of each target.
    """

    tokens: torch.Tensor
    positions: torch.Tensor
    blocks: list[tuple[int, int, list[int]]]
    targets: torch.Tensor
    weights: torch.Tensor


def _halves(rows: int, heads: int) -> npt.NDArray[np.int64]:
    """Return the order of rows that turns GGUF's neighbouring rotary pairs into halves."""
    width = rows // heads
    return np.arange(rows).reshape(heads, width // 2, 2).transpose(0, 2, 1).reshape(-1)


class Planner(torch.nn.Module):
    """A frozen Llama with trainable additions.

    Args:
        path: the GGUF, any type that the `gguf` package decodes.
        rank: of the additions; 0 for none.
        alpha: their scale is `alpha / rank`.
        seed: of their beginnings.
        first_layer: the lowest layer that is adapted; those under it need no way back.
        dtype: in which the frozen weights multiply.
    """

    def __init__(
        self,
        path: Path,
        rank: int,
        alpha: float,
        *,
        seed: int = 0,
        first_layer: int = 0,
        dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        super().__init__()
        reader = gguf.GGUFReader(path)
        field = {name: reader.fields[name].contents() for name in reader.fields if name.startswith("llama.")}
        heads, hidden = int(field["llama.attention.head_count"]), int(field["llama.embedding_length"])
        self.shape = Shape(
            int(field["llama.block_count"]),
            hidden,
            heads,
            int(field["llama.attention.head_count_kv"]),
            hidden // heads,
            float(field["llama.rope.freq_base"]),
            float(field["llama.attention.layer_norm_rms_epsilon"]),
        )
        self._additions = True
        self.dtype, self.rank, self.scale = dtype, rank, alpha / max(1, rank)
        weights = {t.name: gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32) for t in reader.tensors}
        self._orders = {
            "attn_q": _halves(hidden, heads),
            "attn_k": _halves(self.shape.groups * self.shape.width, self.shape.groups),
        }
        self.embedding = torch.from_numpy(weights["token_embd.weight"]).to(dtype)
        self.norm = torch.from_numpy(weights["output_norm.weight"])
        self.frozen: list[dict[str, torch.Tensor]] = []
        generator = torch.Generator().manual_seed(seed)
        self.a, self.b = torch.nn.ParameterDict(), torch.nn.ParameterDict()
        for layer in range(self.shape.layers):
            held = {}
            for name in (*ADAPTED, "attn_norm", "ffn_norm"):
                array = weights[f"blk.{layer}.{name}.weight"]
                held[name] = torch.from_numpy(array[self._orders[name]] if name in self._orders else array)
            self.frozen.append(
                {
                    "qkv": torch.cat([held["attn_q"], held["attn_k"], held["attn_v"]]).to(dtype),
                    "o": held["attn_output"].to(dtype),
                    "gate_up": torch.cat([held["ffn_gate"], held["ffn_up"]]).to(dtype),
                    "down": held["ffn_down"].to(dtype),
                    "attn_norm": held["attn_norm"],
                    "ffn_norm": held["ffn_norm"],
                }
            )
            for name in ADAPTED if rank and layer >= first_layer else ():
                rows, columns = held[name].shape
                bound = math.sqrt(3 / columns)
                start = (torch.rand(rank, columns, generator=generator) * 2 - 1) * bound
                self.a[f"{layer}-{name}"] = torch.nn.Parameter(start)
                self.b[f"{layer}-{name}"] = torch.nn.Parameter(torch.zeros(rows, rank))

    def additions(self) -> dict[str, tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]:
        """Return `(A, B)` by GGUF tensor name, rows in the GGUF's own order, as float32."""
        found = {}
        for key in self.a:
            layer, name = key.split("-")
            b = self.b[key].detach().numpy()
            if name in self._orders:
                back = np.empty_like(b)
                back[self._orders[name]] = b
                b = back
            found[f"blk.{layer}.{name}.weight"] = (self.a[key].detach().numpy().copy(), b.copy())
        return found

    @contextmanager
    def untrained(self) -> Iterator[None]:
        """Compute without the additions, as the model was before."""
        self._additions = False
        try:
            yield
        finally:
            self._additions = True

    def _linear(self, x: torch.Tensor, layer: int, weight: str, names: Sequence[str]) -> torch.Tensor:
        y = F.linear(x, self.frozen[layer][weight])
        keys = [f"{layer}-{name}" for name in names if f"{layer}-{name}" in self.a]
        if not keys or not self._additions:
            return y
        # What shares an input is multiplied at once: small products cost more than their arithmetic.
        a = torch.cat([self.a[key] for key in keys]).to(self.dtype)
        b = torch.block_diag(*(self.b[key] * self.scale for key in keys)).to(self.dtype)
        return torch.addmm(y, F.linear(x, a), b.t())

    def _normed(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return F.rms_norm(x, (self.shape.hidden,), weight, self.shape.epsilon).to(self.dtype)

    def forward(self, packed: Packed) -> torch.Tensor:
        """Return the hidden states of all tokens, after the last norm."""
        shape = self.shape
        x = F.embedding(packed.tokens, self.embedding).float()
        half = shape.width // 2
        angles = packed.positions[:, None].float() * (shape.base ** (-torch.arange(half).float() / half))[None]
        cosine, sine = angles.cos()[:, None].to(self.dtype), angles.sin()[:, None].to(self.dtype)
        layouts = [_layout(first, prefix, lengths) for first, prefix, lengths in packed.blocks]
        for layer in range(shape.layers):
            held = self.frozen[layer]
            qkv = self._linear(self._normed(x, held["attn_norm"]), layer, "qkv", ADAPTED[:3])
            qkv = qkv.view(-1, shape.heads + 2 * shape.groups, shape.width)
            turned = qkv[:, : shape.heads + shape.groups]
            low, high = turned[..., :half], turned[..., half:]
            turned = torch.cat([low * cosine - high * sine, high * cosine + low * sine], dim=-1)
            q, k = turned[:, : shape.heads], turned[:, shape.heads :]
            v = qkv[:, shape.heads + shape.groups :]
            mixed = torch.cat([_attended(q, k, v, layout) for layout in layouts])
            x = x + self._linear(mixed.reshape(-1, shape.hidden), layer, "o", ADAPTED[3:4])
            wide = self._linear(self._normed(x, held["ffn_norm"]), layer, "gate_up", ADAPTED[4:6])
            gate, up = wide.chunk(2, dim=1)
            x = x + self._linear(F.silu(gate) * up, layer, "down", ADAPTED[6:])
        return self._normed(x, self.norm)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the logits of some hidden states."""
        return F.linear(hidden, self.embedding)


# Requests of like length are attended to together: padding them all to the longest would cost more than they do.
_TOGETHER = 8


@dataclass(slots=True)
class _Rows:
    picked: torch.Tensor  # (segments * longest,): token indices, padded with the block's first token
    count: int
    mask: torch.Tensor  # (segments, longest, longest): added to scores within a segment
    flat: torch.Tensor  # where each token stands in the padded rows


@dataclass(slots=True)
class _Layout:
    first: int
    prefix: int
    rows: list[_Rows]


def _layout(first: int, prefix: int, lengths: Sequence[int]) -> _Layout:
    """Lay the segments of a block out in padded rows; they must come sorted by length."""
    layout, start = _Layout(first, prefix, []), first + prefix
    for begin in range(0, len(lengths), _TOGETHER):
        some = lengths[begin : begin + _TOGETHER]
        longest = max(some)
        picked = torch.full((len(some), longest), first)
        kept = torch.zeros(len(some), longest, dtype=torch.bool)
        for index, length in enumerate(some):
            picked[index, :length] = torch.arange(start, start + length)
            kept[index, :length] = True
            start += length
        causal = torch.ones(longest, longest, dtype=torch.bool).tril()
        mask = torch.zeros(len(some), longest, longest).masked_fill(~(causal[None] & kept[:, None, :]), -1e9)
        layout.rows.append(_Rows(picked.flatten(), len(some), mask, kept.flatten().nonzero().flatten()))
    return layout


def _attended(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, layout: _Layout) -> torch.Tensor:
    """Attend within one block: the prefix to itself, each segment to the prefix and itself."""
    begin, end = layout.first, layout.first + layout.prefix
    share = q.shape[1] // k.shape[1]
    kp, vp = k[begin:end].transpose(0, 1), v[begin:end].transpose(0, 1)  # (groups, prefix, width)
    own = F.scaled_dot_product_attention(
        q[begin:end].transpose(0, 1)[None],
        kp.repeat_interleave(share, 0)[None],
        vp.repeat_interleave(share, 0)[None],
        is_causal=True,
    )[0].transpose(0, 1)
    parts = [own]
    for rows in layout.rows:
        # The scores are computed again on the way back: kept, they would be most of the memory.
        if torch.is_grad_enabled():
            parts.append(checkpoint(_attend, q, k, v, kp, vp, rows, use_reentrant=False))
        else:
            parts.append(_attend(q, k, v, kp, vp, rows))
    return torch.cat(parts)


def _attend(  # noqa: PLR0917  # `checkpoint` passes its arguments on by position
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, kp: torch.Tensor, vp: torch.Tensor, rows: _Rows
) -> torch.Tensor:
    groups, prefix, width = kp.shape
    share, count = q.shape[1] // groups, rows.count
    longest = rows.picked.shape[0] // count
    # (groups, count * share * longest, width): every query of a group beside each other.
    qs = q.index_select(0, rows.picked).view(count, longest, groups, share, width).permute(2, 0, 3, 1, 4)
    qs = qs.reshape(groups, -1, width) * width**-0.5
    ks, vs = (t.index_select(0, rows.picked).view(count, longest, groups, width).permute(2, 0, 1, 3) for t in (k, v))
    far = (qs @ kp.transpose(1, 2)).view(groups, count, share * longest, prefix)
    near = qs.view(groups, count, share * longest, width) @ ks.transpose(2, 3)
    near = near.view(groups, count, share, longest, longest) + rows.mask[None, :, None].to(near.dtype)
    scores = torch.cat([far, near.view(groups, count, share * longest, longest)], dim=-1)
    shares = torch.softmax(scores.float(), dim=-1).to(q.dtype)
    mixed = (shares[..., :prefix].reshape(groups, -1, prefix) @ vp).view(groups, count, share * longest, width)
    mixed = (mixed + shares[..., prefix:] @ vs).view(groups, count, share, longest, width)
    return mixed.permute(1, 3, 0, 2, 4).reshape(count * longest, groups * share, width).index_select(0, rows.flat)
