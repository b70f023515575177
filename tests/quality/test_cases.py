"""The sets of requests, and how they are read."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from quality.canonical import alternatives, canonical
from quality.cases import KINDS, SETS, Case, evenly, load, packs

TODAY = date(2026, 12, 30)


def written(folder: Path, file: str, *entries: object) -> None:
    """Write a set's file."""
    (folder / f"{file}.jsonl").write_text("\n".join(map(json.dumps, entries)) + "\n", encoding="utf-8")


def entry(*arguments: object, **more: object) -> dict[str, object]:
    return {"request": "r", "pack": "p", "calls": [{"tool": "t", "arguments": one} for one in arguments], **more}


@pytest.mark.parametrize(
    ("arguments", "kind"), [((), "none"), (({},), "single"), (({}, {}), "compound"), (({}, {}, {}), "compound")]
)
def test_the_kind_of_an_old_line_follows_from_its_calls(
    tmp_path: Path, arguments: tuple[object, ...], kind: str
) -> None:
    written(tmp_path, "dev", entry(*arguments))

    assert [case.kind for case in load("dev", TODAY, folder=tmp_path)] == [kind]


def test_a_kind_that_is_given_counts(tmp_path: Path) -> None:
    written(tmp_path, "dev", entry({}, kind="clarify"))

    assert load("dev", TODAY, folder=tmp_path)[0].kind == "clarify"


def test_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    written(tmp_path, "dev", entry({}, kind="clarfy"))

    with pytest.raises(ValueError, match="clarfy"):
        load("dev", TODAY, folder=tmp_path)


def test_relative_days_are_counted_from_today_at_any_depth(tmp_path: Path) -> None:
    arguments = {
        "day": "@today+2",
        "days": ["@today", "2026-01-01"],
        "trip": {"back": {"$any": ["@today+1", "@today-30"]}},
        "note": "see @today+1",
        "count": 3,
    }
    written(tmp_path, "dev", entry(arguments))

    assert load("dev", TODAY, folder=tmp_path)[0].calls[0].arguments == {
        "day": "2027-01-01",
        "days": ["2026-12-30", "2026-01-01"],
        "trip": {"back": {"$any": ["2026-12-31", "2026-11-30"]}},
        "note": "see @today+1",
        "count": 3,
    }


def test_the_test_set_is_both_of_its_files(tmp_path: Path) -> None:
    written(tmp_path, "unseen_a", entry(request="a"))
    written(tmp_path, "unseen_b", entry(request="b"))

    assert [case.request for case in load("test", TODAY, folder=tmp_path)] == ["a", "b"]


def test_a_set_with_a_missing_file_is_no_set(tmp_path: Path) -> None:
    written(tmp_path, "unseen_a", entry())

    with pytest.raises(FileNotFoundError):
        load("test", TODAY, folder=tmp_path)


def test_a_part_of_a_set_has_every_kind_and_pack() -> None:
    cases = [Case(f"{n}", pack, (), kind) for pack in ("p", "q") for kind in KINDS for n in range(10)]

    part = evenly(cases, 8)

    assert {(case.pack, case.kind) for case in part} == {(pack, kind) for pack in ("p", "q") for kind in KINDS}
    assert evenly(cases, 80) == cases
    assert len(evenly(cases, 7)) == 7


def test_the_packs_of_the_folder_are_found() -> None:
    found = packs()

    assert {"core", "second", "third", "fourth", "veterinary", "warehouse"} <= set(found)
    assert all(tools for tools in found.values())


@pytest.mark.parametrize("name", SETS)
def test_every_expected_call_is_one_that_its_tool_takes(name: str) -> None:
    """A wrong line would count against every model. Says where, and never what the request is."""
    offered = {pack: {spec.name: spec for spec in tools} for pack, tools in packs().items()}
    wrong = []
    for number, case in enumerate(load(name, TODAY), 1):
        for call in case.calls:
            spec = offered.get(case.pack, {}).get(call.tool)
            forms = [canonical(spec, arguments) for arguments in alternatives(call.arguments)]
            refused = any(form.startswith('{"refused"') for form in forms)
            if spec is None or refused != (case.kind == "clarify"):
                wrong.append((case.pack, number))

    assert wrong == []
