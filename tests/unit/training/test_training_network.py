"""The network: shared beginnings compute what separate sequences would, and what is learned can be exported."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="PyTorch is installed only for training")

import gguf
import numpy as np
import torch

from support.tiny_llama import LAYERS, MATRICES, VOCABULARY, make_gguf
from training.network import ADAPTED, Packed, Planner

# More segments than are attended to together, with gaps between their lengths.
LAYOUT = [(7, [1, 2, 2, 3, 4, 4, 5, 6, 9, 9, 12]), (4, [3, 8]), (5, [])]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama."""
    file: Path = tmp_path_factory.mktemp("network") / "model.gguf"
    make_gguf(file, gguf.GGMLQuantizationType.F32)
    return file


def planner(path: Path, rank: int = 3, first_layer: int = 0) -> Planner:
    """Return the network in full precision, with additions that do something."""
    net = Planner(path, rank, 2.0 * rank, seed=1, first_layer=first_layer, dtype=torch.float32)
    generator = torch.Generator().manual_seed(5)
    for name in net.b:
        net.b[name].data = torch.randn(net.b[name].shape, generator=generator) * 0.2
    return net


def packed(layout: Sequence[tuple[int, list[int]]]) -> Packed:
    """Return random tokens in blocks of that shape, with nothing to learn."""
    blocks, positions = [], []
    for prefix, lengths in layout:
        blocks.append((len(positions), prefix, lengths))
        positions += range(prefix)
        for length in lengths:
            positions += range(prefix, prefix + length)
    tokens = torch.randint(0, VOCABULARY, (len(positions),), generator=torch.Generator().manual_seed(3))
    count = len(positions)
    return Packed(tokens, torch.tensor(positions), blocks, torch.full((count,), -100), torch.zeros(count))


def separate(whole: Packed) -> list[tuple[Packed, torch.Tensor]]:
    """Return each block's segments as sequences of their own, with where their tokens stand in the whole."""
    found = []
    for first, prefix, lengths in whole.blocks:
        start = first + prefix
        places = [torch.arange(first, start)] if not lengths else []
        for length in lengths:
            places.append(torch.cat([torch.arange(first, first + prefix), torch.arange(start, start + length)]))
            start += length
        for place in places:
            count = len(place)
            alone = Packed(
                whole.tokens[place], torch.arange(count), [(0, count, [])], whole.targets[place], whole.weights[place]
            )
            found.append((alone, place))
    return found


def test_shared_beginnings_compute_what_separate_sequences_do(path: Path) -> None:
    net, whole = planner(path), packed(LAYOUT)
    with torch.no_grad():
        hidden = net(whole)
        for alone, place in separate(whole):
            torch.testing.assert_close(hidden[place], net(alone), rtol=1e-4, atol=1e-5)


def test_they_learn_the_same_too(path: Path) -> None:
    whole = packed(LAYOUT[:2])
    together, apart = planner(path), planner(path)
    weights = torch.randn(len(whole.tokens), together.shape.hidden, generator=torch.Generator().manual_seed(8))
    # Each token counts as often as separate sequences repeat it.
    often = torch.zeros(len(whole.tokens), 1)
    for alone, place in separate(whole):
        often[place] += 1
        (apart(alone) * weights[place]).sum().backward()
    (together(whole) * weights * often).sum().backward()
    for name in together.a:
        for one, other in ((together.a[name], apart.a[name]), (together.b[name], apart.b[name])):
            torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-4)


def test_a_token_sees_nothing_that_comes_later_or_stands_elsewhere(path: Path) -> None:
    net, whole = planner(path), packed([(4, [3, 5])])
    with torch.no_grad():
        before = net(whole)
        whole.tokens[4 + 3 + 2] = (whole.tokens[4 + 3 + 2] + 1) % VOCABULARY  # the third of the second segment
        after = net(whole)
    changed = (before - after).abs().amax(dim=1) > 0
    assert changed.nonzero().flatten().tolist() == [9, 10, 11]


def test_a_new_network_is_the_model_as_it_came(path: Path) -> None:
    whole = packed(LAYOUT)
    with torch.no_grad():
        fresh = Planner(path, 3, 6.0, dtype=torch.float32)(whole)
        torch.testing.assert_close(fresh, Planner(path, 0, 0.0, dtype=torch.float32)(whole))


def test_only_layers_from_the_first_on_are_adapted(path: Path) -> None:
    net = planner(path, first_layer=LAYERS - 1)
    assert set(net.a) == set(net.b) == {f"{LAYERS - 1}-{name}" for name in ADAPTED}
    assert {name for name, _ in net.named_parameters()} == {f"{end}.{name}" for end in "ab" for name in net.a}


def test_additions_merged_into_the_file_give_the_same_model(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net, whole = planner(path), packed(LAYOUT)
    added = {name: net.scale * (b @ a) for name, (a, b) in net.additions().items()}
    assert set(added) == {f"blk.{layer}.{name}.weight" for layer in range(LAYERS) for name in MATRICES}

    class Merged(gguf.GGUFReader):  # type: ignore[misc]
        """The file as it would be with the additions in its weights."""

        def __init__(self, file: Path) -> None:
            super().__init__(file)
            self.tensors = [t._replace(data=np.asarray(t.data) + added.get(t.name, 0)) for t in self.tensors]

    with torch.no_grad():
        learned = net(whole)
        monkeypatch.setattr(gguf, "GGUFReader", Merged)
        merged = Planner(path, 0, 0.0, dtype=torch.float32)(whole)
    torch.testing.assert_close(learned, merged, rtol=1e-3, atol=1e-4)


def test_the_untrained_model_can_be_asked(path: Path) -> None:
    """It is the one without additions, and only as long as it is asked."""
    net, whole = planner(path), packed(LAYOUT)
    trained = net(whole)
    with net.untrained():
        before = net(whole)
    assert torch.allclose(before, planner(path, rank=0)(whole), atol=1e-5)
    assert not torch.allclose(before, trained, atol=1e-2)
    assert torch.equal(net(whole), trained)
