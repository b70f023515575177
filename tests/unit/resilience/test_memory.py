"""Memory has levels, which are left lower than they are entered; the container's limit counts too."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psutil
import pytest

from podium.resilience.memory import MemoryLevel, MemoryWatch, container_limit, effective_limit, resident_bytes
from support.virtual_time import run_virtual

N, H, C = MemoryLevel.NORMAL, MemoryLevel.HIGH, MemoryLevel.CRITICAL


def test_levels_are_entered_and_left_at_their_shares() -> None:
    """In per cent of the limit, each reading with the level that follows it."""
    readings = [(0, N), (79, N), (80, H), (76, H), (75, H), (74, N), (79, N), (92, C), (88, C), (87, C), (86, H)]
    readings += [(91, H), (95, C), (10, N), (100, C), (200, C), (76, H)]
    seen: list[MemoryLevel] = []
    used = iter([percent * 10 for percent, _ in readings])
    watch = MemoryWatch(1000, seen.append, read=lambda: next(used))
    levels = [(percent, watch.check()) for percent, _ in readings]
    assert levels == readings
    assert seen == [H, N, C, H, C, N, C, H], "told once for each change"


def test_reads_on_entering_and_at_each_interval_until_it_is_left() -> None:
    async def main() -> None:
        used = [850]
        reads: list[float] = []
        seen: list[tuple[float, MemoryLevel]] = []
        now = asyncio.get_running_loop().time

        def read() -> int:
            reads.append(now())
            return used[0]

        async with MemoryWatch(1000, lambda level: seen.append((now(), level)), interval=2.0, read=read) as watch:
            assert (watch.level, watch.used, watch.limit) == (H, 850, 1000)
            await asyncio.sleep(3)
            used[0] = 990
            await asyncio.sleep(2)
            assert watch.level is C
            used[0] = 100
            await asyncio.sleep(2)
        await asyncio.sleep(10)
        assert reads == [0, 2, 4, 6]
        assert seen == [(0, H), (4, C), (6, N)]

    run_virtual(main())


def test_reads_the_memory_of_this_process() -> None:
    total = psutil.virtual_memory().total
    assert 5_000_000 < resident_bytes() < total
    assert MemoryWatch(total * 2, lambda _: None).check() is N
    assert MemoryWatch(1, lambda _: None).check() is C


@pytest.mark.parametrize(("limit", "interval"), [(0, 1.0), (1, 0.0)])
def test_refuses_what_makes_no_sense(limit: int, interval: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        MemoryWatch(limit, lambda _: None, interval=interval)


def test_keeps_to_three_quarters_of_the_container() -> None:
    assert effective_limit(4_000, lambda: None) == 4_000
    assert effective_limit(4_000, lambda: 4_000) == 3_000
    assert effective_limit(4_000, lambda: 100_000) == 4_000
    assert 0 < effective_limit(1 << 40) <= 1 << 40


def files(root: Path, **texts: str) -> None:
    for name, text in texts.items():
        path = root / name.replace("__", "/").replace("max", "memory.max").replace("v1", "memory.limit_in_bytes")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_finds_the_limit_of_version_2_and_the_tightest_of_nested_groups(tmp_path: Path) -> None:
    member = tmp_path / "self"
    member.write_text("0::/a/b\n")
    root = tmp_path / "cgroup"
    files(root, max="9000\n", a__max="5000\n", a__b__max="max\n")
    assert container_limit(root, member) == 5000
    files(root, a__b__max="7000\n")
    assert container_limit(root, member) == 5000
    files(root, a__b__max="3000\n")
    assert container_limit(root, member) == 3000


def test_falls_back_to_version_1(tmp_path: Path) -> None:
    member = tmp_path / "self"
    member.write_text("4:cpu,memory:/docker/abc\n0::/\n")
    root = tmp_path / "cgroup"
    files(root / "memory", v1="2000\n")
    assert container_limit(root, member) == 2000, "the path is the host's; the root shown is the container's own"
    files(root / "memory", v1="9223372036854771712\n")
    assert container_limit(root, member) is None, "so large means none"


def test_without_control_groups_there_is_no_limit(tmp_path: Path) -> None:
    assert container_limit(tmp_path, tmp_path / "missing") is None
    files(tmp_path, max="4000")
    assert container_limit(tmp_path, tmp_path / "missing") == 4000
