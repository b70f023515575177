"""Examples: what the model is asked to write can be read back, and stands in what it reads."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from podium.inference.planner.call_lines import FROM_RESULT, NO, UNSAID, parse_call
from training.cards import Domain
from training.examples import Block, Item, scenes

SEED = 4
WANTED = 700  # of about 300 requests
ROOT = Path(__file__).resolve().parents[3]
# How a tool is shown: `name(argument?: kind, ...) -> field, ...: what it does`.
SHOWN = re.compile(r"(?P<tool>\w+)\((?P<parameters>[^)]*)\)(?: -> (?P<fields>[^:]*))?: ")
PARAMETER = re.compile(r"(?P<name>[\w.]+)(?P<optional>\?)?(?:: (?P<kind>.+))?")


class Tool:
    """A tool as a block shows it."""

    def __init__(self, line: str) -> None:
        shown = SHOWN.match(line)
        assert shown, line
        self.kinds: dict[str, str] = {}
        self.required: list[str] = []
        for text in filter(None, shown["parameters"].split(", ")):
            parameter = PARAMETER.fullmatch(text)
            assert parameter, text
            self.kinds[parameter["name"]] = parameter["kind"] or "text"
            if not parameter["optional"]:
                self.required.append(parameter["name"])

    def calls(self, item: Item) -> list[Mapping[str, str]]:
        """Return the values of the calls that an item's lines write."""
        calls = [parse_call(line, list(self.kinds)) for line in item.lines]
        return [call.values for call in calls if call is not None]


@pytest.fixture(scope="module")
def pairs(domains: Sequence[Domain]) -> Sequence[tuple[Tool, Item]]:
    """So many pairs of tool and request."""
    made = (block for scene in scenes(domains, SEED) for block in scene)
    found = list(itertools.islice(((Tool(block.tool), item) for block in made for item in block.items), WANTED))
    assert len(found) == WANTED
    return found


def test_every_answer_is_no_or_calls_that_can_be_read_back(pairs: Sequence[tuple[Tool, Item]]) -> None:
    for tool, item in pairs:
        if item.lines == (NO,):
            assert item.kind == "not"
            continue
        assert item.kind in {"single", "compound", "partial", "chain"}
        calls = tool.calls(item)
        assert len(calls) == len(item.lines) >= 1, item
        for values in calls:
            assert set(tool.required) <= set(values), item


def test_every_value_stands_in_the_request_or_among_the_shown_options(pairs: Sequence[tuple[Tool, Item]]) -> None:
    seen: Counter[str] = Counter()
    for tool, item in pairs:
        for name, value in (pair for values in tool.calls(item) for pair in values.items()):
            kind = "option" if "/" in tool.kinds[name] else tool.kinds[name]
            if value in {UNSAID, FROM_RESULT}:
                kind = value
            elif kind == "bool":
                assert value in {"yes", "no"}, (item, name)
            elif kind == "option":
                options = tool.kinds[name].strip("[]").split("/")
                assert set(value.split(", ") if tool.kinds[name][0] == "[" else [value]) <= set(options), (item, name)
            elif kind.startswith("["):
                assert all(part in item.request for part in value.split(", ")), (item, name)
            else:
                assert value in item.request, (item, name)
            seen["list" if kind.startswith("[") else kind] += 1
    # None of these branches was idle.
    assert min(seen[kind] for kind in ("bool", "option", "list", "text", "int", "date", UNSAID, FROM_RESULT)) >= 2, seen


def test_a_question_mark_stands_only_where_the_request_leaves_something_out(
    pairs: Sequence[tuple[Tool, Item]],
) -> None:
    for tool, item in pairs:
        asks = any(value == UNSAID for values in tool.calls(item) for value in values.values())
        assert asks == (item.kind == "partial"), item


def test_only_a_call_that_needs_another_has_a_value_from_a_result(pairs: Sequence[tuple[Tool, Item]]) -> None:
    for tool, item in pairs:
        if item.kind != "chain":
            assert not any(value == FROM_RESULT for values in tool.calls(item) for value in values.values()), item


def test_every_request_is_put_to_tools_that_it_does_not_mean(domains: Sequence[Domain]) -> None:
    for scene in itertools.islice(scenes(domains, SEED), 20):
        kinds: dict[str, list[str]] = {}
        for item in (item for block in scene for item in block.items):
            kinds.setdefault(item.request, []).append(item.kind)
        for request, found in kinds.items():
            meant = [kind for kind in found if kind != "not"]
            assert len(set(meant)) <= 1, request
            if len(scene) > len(found):
                assert "not" in found, request


def test_the_kinds_have_about_their_shares(pairs: Sequence[tuple[Tool, Item]]) -> None:
    counts = Counter(item.kind for _, item in pairs)
    shares = {kind: count / len(pairs) for kind, count in counts.items()}
    assert set(shares) == {"not", "single", "compound", "partial", "chain"}
    assert 0.5 < shares["not"] < 0.8
    assert shares["single"] > shares["compound"] > shares["partial"] > 0.01


def test_some_requests_ask_for_the_same_once_more(pairs: Sequence[tuple[Tool, Item]]) -> None:
    """ "..., and the same for Friday": two calls that differ in one value, which the request holds."""
    echoes = [
        (item.request, *tool.calls(item))
        for tool, item in pairs
        if item.kind == "compound" and re.search(r"same for|ditto|as well$|another one for", item.request)
    ]
    differ = [
        {name for name in first if first[name] != second[name]}
        for _, first, second in (echo for echo in echoes if len(echo) == 3)
        if first.keys() == second.keys()
    ]
    assert sum(len(names) == 1 for names in differ) >= 5


def test_no_request_stands_twice_in_a_block(domains: Sequence[Domain]) -> None:
    for block in next(scenes(domains, SEED)):
        requests = [item.request for item in block.items]
        assert len(set(requests)) == len(requests)


def test_the_same_seed_gives_the_same_blocks_and_another_seed_others(domains: Sequence[Domain]) -> None:
    def first(seed: int) -> list[list[Block]]:
        return list(itertools.islice(scenes(domains, seed, 6), 3))

    assert first(9) == first(9)
    assert first(9) != first(10)


def test_blocks_do_not_depend_on_the_process() -> None:
    """Python orders sets of text differently in each process."""
    script = (
        "import itertools, hashlib\n"
        "from training.cards import load_domains\n"
        "from training.examples import scenes\n"
        "made = list(itertools.islice(scenes(load_domains()[:6], 3, 8), 6))\n"
        "print(hashlib.sha256(repr(made).encode()).hexdigest())\n"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-B", "-c", script],
            cwd=ROOT,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": f".{os.pathsep}service", "PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_a_second_wish_may_point_at_the_first(domains: Sequence[Domain]) -> None:
    """ "..., and a taxi for the same day": the call says what is meant, not the words that point."""
    pointing = re.compile(r"(?:the same|that) \w+")
    found = []
    for scene in itertools.islice(scenes(domains, SEED), 200):
        for block in scene:
            tool = Tool(block.tool)
            for item in block.items:
                if item.kind == "compound" and "the same " in item.request:
                    found += [value for values in tool.calls(item) for value in values.values()]
    assert found
    assert not any(pointing.fullmatch(value) for value in found)
