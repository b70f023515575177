"""The catalogs: names, aliases, and models that come and go while turns are going on."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from podium.errors import FailedPrecondition, NotFound, PermissionDenied
from podium.inference.catalog import DynamicModels
from podium.inference.routing.policy import Route
from support.virtual_time import run_virtual

sys.path.insert(0, str(Path(__file__).resolve().parent))
from routing_doubles import REQUEST, PlannedModel, away, make_breakers, take


def catalog(*models: PlannedModel, **options: Any) -> DynamicModels:
    """Return a catalog whose default is the first model."""
    made = DynamicModels(make_breakers(), **options)
    made.replace({model.name: model for model in models}, default=models[0].name)
    return made


async def test_names_aliases_and_routes_lead_to_models() -> None:
    a, b = PlannedModel("a", away()), PlannedModel("b")
    models = DynamicModels(make_breakers())
    route = Route(name="best", models=("a", "b"))
    models.replace({"a": a, "b": b}, [route], default="best", aliases={"fast": "b", "embedded": "a"})
    assert [model.name for model in models.list()] == ["a", "b", "best"]
    assert (await take(models.get("fast")))[0] == "from b"
    assert (await take(models.get("default")))[1].model == "b"
    assert models.get("").name == models.default == "best"
    assert (await models.get("b").info()).aliases == ("fast",)
    assert (await models.get("best").info()).aliases == ("default",)
    assert (await models.get("best").info()).kind == "route"
    with pytest.raises(NotFound, match="did you mean 'embedded'"):
        models.get("embeded")


async def test_route_may_be_called_default() -> None:
    a, b = PlannedModel("a", away()), PlannedModel("b")
    models = DynamicModels(make_breakers())
    models.replace({"a": a, "b": b}, [Route(name="default", models=("a", "b"))], default="default")
    for name in ("", "default"):
        assert (await take(models.get(name)))[1].model == "b"
    assert (await models.get("").info()).aliases == ()
    models.replace({"a": a, "b": b}, [Route(name="default", models=("a", "b"))], default="b")
    assert [models.get(name).name for name in ("", "default")] == ["b", "default"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"default": "c"},
        {"aliases": {"a": "b"}},
        {"aliases": {"x": "c"}},
        {"aliases": {"default": "b"}},
        {"routes": [Route(name="a", models=("b",))]},
        {"routes": [Route(name="r", models=("c",))]},
        {"models": {"other": PlannedModel("a")}},
    ],
)
def test_contents_that_do_not_hang_together_change_nothing(wrong: dict[str, Any]) -> None:
    a, b = PlannedModel("a"), PlannedModel("b")
    models = catalog(a)
    with pytest.raises(ValueError, match=r"name|model"):
        models.replace(**{"models": {"a": a, "b": b}, "default": "a", **wrong})
    assert [model.name for model in models.list()] == ["a"]


def test_turn_on_a_removed_model_ends_and_its_owner_hears_of_it() -> None:
    async def main() -> None:
        old, new = PlannedModel("m", ["x", 5.0, "y"]), PlannedModel("m", ["new"])
        models = catalog(old)
        held = models.get("m")
        async with asyncio.TaskGroup() as group:
            going_on = group.create_task(take(held))
            await asyncio.sleep(1)
            (retired,) = models.replace({"m": new}, default="m")
            assert retired.model is old
            assert retired.turns == 1
            assert (await take(held))[0] == "new"  # the same run's next turn
            assert not await retired.wait_idle(1.0)
            assert await retired.wait_idle(60.0)
            assert going_on.done()
        assert going_on.result()[0] == "xy"
        assert retired.turns == 0
        assert len(old.requests) == 1

    run_virtual(main())


def test_removed_model_is_idle_also_when_its_turn_is_closed_or_fails() -> None:
    async def main() -> None:
        closed, failing, other = PlannedModel("c", ["x", 9.0]), PlannedModel("f", ["x", away()]), PlannedModel("o")
        models = catalog(closed, failing, other)
        streams: list[Any] = [models.get(name).stream(REQUEST) for name in ("c", "f")]
        for stream in streams:
            await anext(stream)
        retired = models.replace({"o": other}, default="o")
        assert [one.turns for one in retired] == [1, 1]
        await streams[0].aclose()
        with pytest.raises(Exception, match="away"):
            await anext(streams[1])
        assert [await one.wait_idle(0.1) for one in retired] == [True, True]

    run_virtual(main())


async def test_model_that_stays_keeps_its_turns() -> None:
    a, b = PlannedModel("a"), PlannedModel("b")
    models = catalog(a, b)
    stream: Any = models.get("a").stream(REQUEST)
    await anext(stream)
    assert [one.model for one in models.replace({"a": a}, default="a")] == [b]
    await stream.aclose()
    (retired,) = models.replace({"b": b}, default="b")
    assert (retired.model, retired.turns) == (a, 0)


async def test_held_handle_of_a_removed_model_describes_itself() -> None:
    a, b = PlannedModel("a"), PlannedModel("b")
    models = catalog(a, b)
    held = models.get("b")
    models.replace({"a": a}, default="a")
    info = await held.info()
    assert (info.kind, info.ready) == ("removed", False)
    with pytest.raises(FailedPrecondition):
        await held.count_tokens(REQUEST)
    with pytest.raises(FailedPrecondition, match="'b' was removed"):
        await take(held)


async def test_tenants_name_what_they_may() -> None:
    a, b = PlannedModel("a"), PlannedModel("b")
    models = catalog(a, b, allowed=lambda tenant, name: tenant == "gold" or name == "a")
    silver, gold = models.for_tenant("silver"), models.for_tenant("gold")
    assert [model.name for model in silver.list()] == ["a"]
    assert silver.get("").name == silver.default == "a"
    assert gold.get("b").name == "b"
    with pytest.raises(PermissionDenied, match="'b'"):
        silver.get("b")
    with pytest.raises(NotFound):
        silver.get("zzz")
