"""Which calls may start, and which never can."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.orchestration.call_graph import Blockers, CallGraph, Doomed, Step


def _graph(*calls: tuple[str, ...], turn: int = 0) -> tuple[CallGraph, list[Step]]:
    """Seal calls of one turn in order, each given as its sources."""
    graph = CallGraph()
    steps = [
        graph.seal(f"c{turn}_{index}", turn=turn, index=index, sources=sources) for index, sources in enumerate(calls)
    ]
    return graph, steps


def _messages(step: Step) -> dict[str, str]:
    return {one.call_id: one.message for one in step.doomed}


class TestReady:
    def test_call_that_uses_nothing_is_ready_at_once(self) -> None:
        """The plain case needs no more than its sealing."""
        graph, steps = _graph(())
        assert steps == [Step(("c0_0",))]
        assert graph.waiting() == ()
        assert graph.finish("c0_0", ok=True) == Step()

    def test_call_waits_for_the_last_of_its_parents(self) -> None:
        """One parent is not enough."""
        graph, steps = _graph((), (), ("c0_0", "c0_1"))
        assert steps[2] == Step()
        assert graph.waiting() == ("c0_2",)
        assert graph.blockers("c0_2") == Blockers(("c0_0", "c0_1"))
        assert graph.finish("c0_1", ok=True) == Step()
        assert graph.blockers("c0_2") == Blockers(("c0_0",))
        assert graph.finish("c0_0", ok=True) == Step(("c0_2",))
        assert graph.waiting() == ()
        assert not graph.blockers("c0_2")

    def test_parents_that_ended_already_are_not_waited_for(self) -> None:
        """A call may use the result of an earlier turn."""
        graph, _ = _graph(())
        graph.finish("c0_0", ok=True)
        graph.end_turn(0)
        assert graph.seal("c1_0", turn=1, index=0, sources=("c0_0",)) == Step(("c1_0",))
        assert graph.parents("c1_0") == ("c0_0",)

    def test_one_parent_by_several_names_counts_once(self) -> None:
        """The id, the short form and the model's own id are the same call."""
        graph = CallGraph()
        graph.seal("c0_1", turn=0, index=1, sources=("c0_0", "c0", "call_a"))
        assert graph.blockers("c0_1") == Blockers((), ("c0_0", "c0", "call_a"))
        graph.seal("c0_0", turn=0, index=0, alias="call_a")
        assert graph.parents("c0_1") == ("c0_0",)
        assert graph.blockers("c0_1") == Blockers(("c0_0",))
        assert graph.finish("c0_0", ok=True) == Step(("c0_1",))

    def test_several_children_become_ready_in_the_order_they_were_sealed(self) -> None:
        """The order does not depend on hashing."""
        graph, _ = _graph((), *[("c0_0",)] * 50)
        assert graph.finish("c0_0", ok=True).ready == tuple(f"c0_{index}" for index in range(1, 51))

    def test_call_may_end_before_it_was_ready(self) -> None:
        """Its caller gave it up: what uses it goes the same way, and it never becomes ready."""
        graph, _ = _graph((), ("c0_0",), ("c0_1",))
        assert _messages(graph.finish("c0_1", ok=False, cause="the run winds down")) == {
            "c0_2": "c0_1, whose result it uses, failed: the run winds down"
        }
        assert graph.waiting() == ()
        assert graph.finish("c0_0", ok=True) == Step()

    def test_wide_and_deep_graphs_are_no_burden(self) -> None:
        """The work grows with the references, in whichever order the calls come; otherwise this takes minutes."""
        many = 15_000
        chain = [(f"c0_{index + 1}",) for index in range(many - 1)]  # each uses the next one
        graph, steps = _graph(*chain, ())
        assert steps[-1] == Step((f"c0_{many - 1}",))
        assert len(graph.finish(f"c0_{many - 1}", ok=False).doomed) == many - 1
        graph, _ = _graph(*[()] * many, tuple(f"c0_{index}" for index in range(many)))
        ready = [graph.finish(f"c0_{index}", ok=True).ready for index in range(many)]
        assert ready == [()] * (many - 1) + [(f"c0_{many}",)]


class TestHeld:
    def test_held_call_waits_for_its_turn(self) -> None:
        """A call with side effects must not start while the model may still take it back."""
        graph = CallGraph()
        assert graph.seal("c0_0", turn=0, index=0, hold=True) == Step()
        assert graph.blockers("c0_0") == Blockers(turn=True)
        assert graph.end_turn(1) == Step()
        assert graph.end_turn(0) == Step(("c0_0",))
        assert graph.end_turn(0) == Step()

    @pytest.mark.parametrize("turn_first", [True, False])
    def test_held_call_waits_for_its_parents_too(self, *, turn_first: bool) -> None:
        """Whichever comes last."""
        graph = CallGraph()
        graph.seal("c0_0", turn=0, index=0)
        graph.seal("c0_1", turn=0, index=1, sources=("c0_0",), hold=True)
        steps = [lambda: graph.end_turn(0), lambda: graph.finish("c0_0", ok=True)]
        first, second = steps if turn_first else reversed(steps)
        assert first() == Step()
        assert second() == Step(("c0_1",))

    def test_held_call_of_a_turn_that_has_ended_is_not_held(self) -> None:
        """So that a log can be taken up again."""
        graph = CallGraph()
        graph.end_turn(0)
        assert graph.seal("c0_0", turn=0, index=0, hold=True) == Step(("c0_0",))

    def test_doomed_held_call_does_not_start(self) -> None:
        """The end of the turn releases only what can still run."""
        graph = CallGraph()
        graph.seal("c0_0", turn=0, index=0)
        graph.seal("c0_1", turn=0, index=1, sources=("c0_0",), hold=True)
        assert [one.call_id for one in graph.finish("c0_0", ok=False).doomed] == ["c0_1"]
        assert graph.end_turn(0) == Step()


class TestNames:
    @pytest.mark.parametrize("source", ["c1_0", "c0", "mine"])
    def test_call_has_three_names_in_its_turn(self, source: str) -> None:
        """Each may be used after the call or before it."""
        graph = CallGraph()
        graph.seal("c1_1", turn=1, index=1, sources=(source,))
        graph.seal("c1_0", turn=1, index=0, alias="mine")
        graph.seal("c1_2", turn=1, index=2, sources=(source,))
        assert graph.name(source, 1) == "c1_0"
        assert graph.finish("c1_0", ok=True) == Step(("c1_1", "c1_2"))

    def test_short_form_means_the_same_turn(self) -> None:
        """Not a call of an earlier turn."""
        graph = CallGraph()
        graph.seal("c0_0", turn=0, index=0)
        graph.end_turn(0)
        assert graph.name("c0", 0) == "c0_0"
        assert graph.name("c0", 1) is None
        assert graph.name("c00", 0) is None
        graph.seal("c1_1", turn=1, index=1, sources=("c0",))
        assert _messages(graph.end_turn(1)) == {
            "c1_1": "it refers to 'c0', which is no call; the calls are c0_0",
        }

    def test_alias_of_the_own_turn_goes_before_an_earlier_one(self) -> None:
        """Many models number their calls afresh in each turn."""
        graph = CallGraph()
        for turn in (0, 1, 2):
            graph.seal(f"c{turn}_0", turn=turn, index=0, alias="call_0")
        assert [graph.name("call_0", turn) for turn in range(4)] == ["c0_0", "c1_0", "c2_0", "c2_0"]

    def test_first_call_keeps_an_alias(self) -> None:
        """Of two calls of one turn with the same id."""
        graph = CallGraph()
        graph.seal("c0_0", turn=0, index=0, alias="x")
        graph.seal("c0_1", turn=0, index=1, alias="x")
        assert graph.name("x", 0) == "c0_0"

    def test_model_that_numbers_its_calls_from_one_means_its_own_numbers(self) -> None:
        """Else its `c2` would silently be the third call."""
        graph = CallGraph()
        graph.seal("c0_0", turn=0, index=0, alias="c1", sources=("c2", "c3"))
        graph.seal("c0_1", turn=0, index=1, alias="c2")
        graph.seal("c0_2", turn=0, index=2, alias="c3")
        assert graph.parents("c0_0") == ("c0_1", "c0_2")

    def test_call_with_a_number_of_its_own_is_not_reached_by_another(self) -> None:
        """A model may number its calls in any order: the one it means comes later."""
        graph = CallGraph()
        graph.seal("c0_0", turn=0, index=0, alias="c3")
        assert graph.seal("c0_1", turn=0, index=1, sources=("c0",)) == Step()
        graph.seal("c0_2", turn=0, index=2, alias="c0")
        assert graph.parents("c0_1") == ("c0_2",)

    def test_short_form_goes_before_an_alias_of_an_earlier_turn(self) -> None:
        """What is nearer is meant."""
        graph = CallGraph()
        graph.seal("c0_0", turn=0, index=0, alias="c1")
        assert graph.name("c1", 1) == "c0_0"
        graph.seal("c1_1", turn=1, index=1)
        assert graph.name("c1", 1) == "c1_1"

    def test_meaning_of_a_name_stays(self) -> None:
        """What a call waited for is what fills its arguments, whatever is sealed later."""
        graph = CallGraph()
        graph.seal("c0_0", turn=0, index=0)
        graph.seal("c0_1", turn=0, index=1, sources=("c0",))
        graph.seal("c0_2", turn=0, index=2, alias="c0")
        assert graph.name("c0", 0) == "c0_0"
        assert graph.parents("c0_1") == ("c0_0",)


class TestFailures:
    def test_failure_dooms_everything_behind_it(self) -> None:
        """In one step: nearest first, each with the call it uses and the call that failed."""
        graph, _ = _graph((), ("c0_0",), ("c0_1",), ("c0_2", "c0_0"), ())
        assert graph.finish("c0_0", ok=False, cause="no such file") == Step(
            doomed=(
                Doomed("c0_1", "c0_0, whose result it uses, failed: no such file", "c0_0"),
                Doomed("c0_3", "c0_0, whose result it uses, failed: no such file", "c0_0"),
                Doomed(
                    "c0_2",
                    "c0_1, whose result it uses, could not be made because c0_0 failed: no such file",
                    "c0_0",
                ),
            )
        )

    def test_call_that_uses_a_failed_one_is_doomed_when_sealed(self) -> None:
        """And again those behind it, later and earlier ones; the first of several failures is named."""
        graph, _ = _graph((), (), ("c0_3",))
        graph.finish("c0_0", ok=False, cause="zero")
        graph.finish("c0_1", ok=False)
        step = graph.seal("c0_3", turn=0, index=3, sources=("c0_1", "c0_0"))
        assert step.doomed == (
            Doomed("c0_3", "c0_1, whose result it uses, failed", "c0_1"),
            Doomed("c0_2", "c0_3, whose result it uses, could not be made because c0_1 failed", "c0_1"),
        )
        assert graph.seal("c0_4", turn=0, index=4, sources=("c0_3",)).doomed[0].cause == "c0_1"

    def test_long_causes_are_cut(self) -> None:
        """A thousand dependants must not each repeat a long report."""
        graph, _ = _graph((), ("c0_0",))
        assert len(graph.finish("c0_0", ok=False, cause="x" * 10_000).doomed[0].message) < 500

    def test_end_of_a_doomed_call_needs_no_noting(self) -> None:
        """Its caller may note it like any other failure; that it went well is impossible."""
        graph, _ = _graph((), ("c0_0",))
        graph.finish("c0_0", ok=False)
        assert graph.finish("c0_1", ok=False, cause="skipped") == Step()
        with pytest.raises(ValueError, match="c0_1 ended already"):
            graph.finish("c0_1", ok=True)


class TestUnknown:
    @pytest.mark.parametrize(
        ("others", "sources", "message"),
        [
            (0, ("c0_9",), "it refers to 'c0_9', and there is no other call"),
            (2, ("x",), "it refers to 'x', which is no call; the calls are c0_0, c0_1"),
            (1, ("x", "c0_0", "y"), "it refers to 'x' and 'y', which are no calls; the calls are c0_0"),
            (
                22,
                ("z" * 100,),
                f"it refers to '{'z' * 57}...', which is no call; the calls are "
                f"{', '.join(f'c0_{index}' for index in range(2, 22))}, and 2 before them",
            ),
        ],
    )
    def test_name_that_no_call_has(self, others: int, sources: tuple[str, ...], message: str) -> None:
        """It dooms its call at the end of the turn; the message lists what there is."""
        graph, steps = _graph(*[()] * others, sources)
        assert steps[-1] == Step()
        for index in range(others):
            graph.finish(f"c0_{index}", ok=True)
        assert graph.end_turn(0) == Step(doomed=(Doomed(f"c0_{others}", message, ""),))
        assert graph.waiting() == ()

    def test_dependants_of_a_wrong_call(self) -> None:
        """They are told of the call that is wrong, and that it did not fail but never ran."""
        graph, _ = _graph(("x",), ("c0",), ("c1",))
        wrong = "it refers to 'x', which is no call; the calls are c0_1, c0_2"
        assert graph.end_turn(0).doomed == (
            Doomed("c0_0", wrong, ""),
            Doomed("c0_1", f"c0_0, whose result it uses, could not be made: {wrong}", "c0_0"),
            Doomed(
                "c0_2", f"c0_1, whose result it uses, could not be made because c0_0 could not be made: {wrong}", "c0_0"
            ),
        )

    def test_after_the_end_of_the_turn_nothing_is_waited_for(self) -> None:
        """A later call dooms at once."""
        graph = CallGraph()
        graph.end_turn(0)
        step = graph.seal("c0_0", turn=0, index=0, sources=("x",))
        assert step.doomed == (Doomed("c0_0", "it refers to 'x', and there is no other call", ""),)

    def test_other_turns_are_not_touched(self) -> None:
        """The end of a turn is that turn's."""
        graph = CallGraph()
        graph.seal("c1_0", turn=1, index=0, sources=("c1_1",))
        assert graph.end_turn(0) == Step()
        assert graph.waiting() == ("c1_0",)


class TestCircles:
    @pytest.mark.parametrize("source", ["c0_0", "c0", "me"])
    def test_call_that_uses_itself(self, source: str) -> None:
        """By any of its names."""
        graph = CallGraph()
        message = "c0_0 refers to its own result; write the value itself, or refer to another call"
        assert graph.seal("c0_0", turn=0, index=0, alias="me", sources=(source,)).doomed == (
            Doomed("c0_0", message, ""),
        )

    def test_circle_is_found_when_it_closes(self) -> None:
        """Every call in it is wrong itself; what hangs on it is doomed because of it."""
        graph, steps = _graph(("c3",), (), ("c0", "c1"), ("c2",))
        message = (
            "c0_0 -> c0_3 -> c0_2 -> c0_0 refer to each other in a circle; "
            "write one of their arguments without a reference"
        )
        assert steps[3].doomed == tuple(Doomed(f"c0_{index}", message, "") for index in (0, 2, 3))
        step = graph.seal("c0_4", turn=0, index=4, sources=("c0_2",))
        assert step.doomed == (Doomed("c0_4", f"c0_2, whose result it uses, could not be made: {message}", "c0_2"),)
        assert graph.finish("c0_1", ok=True) == Step()

    def test_two_circles_through_one_call(self) -> None:
        """Each call is told of a circle that it is in itself."""
        _, steps = _graph(("c3",), ("c3",), ("c3",), ("c0", "c1"))
        messages = _messages(steps[3])
        assert list(messages) == ["c0_0", "c0_1", "c0_3", "c0_2"]
        assert messages["c0_0"].startswith("c0_0 -> c0_3 -> c0_0 refer")
        assert messages["c0_1"].startswith("c0_1 -> c0_3 -> c0_1 refer")
        assert messages["c0_2"].startswith("c0_3, whose result it uses, could not be made: c0_0 -> c0_3 -> c0_0 refer")

    def test_long_circle_is_cut(self) -> None:
        """Its message stays short."""
        _, steps = _graph(*[(f"c{(index + 1) % 30}",) for index in range(30)])
        assert len(steps[-1].doomed) == 30
        ids = " -> ".join(f"c0_{index}" for index in range(7))
        assert steps[-1].doomed[0].message.startswith(f"{ids} -> (23 more) -> c0_0 refer to each other")

    def test_circle_matters_more_than_a_failure(self) -> None:
        """The failure may pass, the circle has to be mended."""
        graph, _ = _graph((), ("c2",))
        graph.finish("c0_0", ok=False, cause="down")
        step = graph.seal("c0_2", turn=0, index=2, sources=("c0_0", "c0_1"))
        assert [(one.call_id, one.cause) for one in step.doomed] == [("c0_1", ""), ("c0_2", "")]


class TestMisuse:
    def test_sealing_twice(self) -> None:
        """A call has one form."""
        graph, _ = _graph(())
        with pytest.raises(ValueError, match="c0_0 is sealed already"):
            graph.seal("c0_0", turn=0, index=0)

    def test_finishing_twice(self) -> None:
        """Or what never was."""
        graph, _ = _graph(())
        graph.finish("c0_0", ok=True)
        with pytest.raises(ValueError, match="c0_0 ended already"):
            graph.finish("c0_0", ok=False)
        for ask in (lambda: graph.finish("x", ok=True), lambda: graph.parents("x"), lambda: graph.blockers("x")):
            with pytest.raises(ValueError, match="x is not sealed"):
                ask()


class _Watch:
    """Follows a graph as its caller does, and checks each step against the calls' real parents."""

    def __init__(self, sources: dict[str, set[str]], failing: set[str]) -> None:
        self.graph = CallGraph()
        self.sources = sources
        self.failing = failing
        self.ready: list[str] = []
        self.doomed: dict[str, Doomed] = {}
        self.running: list[str] = []
        self.well: set[str] = set()
        self.ended_turn = False

    def take(self, step: Step) -> None:
        for call_id in step.ready:
            assert call_id not in self.ready
            assert call_id not in self.doomed
            assert self.sources[call_id] <= self.well
            self.ready.append(call_id)
            self.running.append(call_id)
        for one in step.doomed:
            assert one.call_id not in self.ready
            assert one.call_id not in self.doomed
            self.doomed[one.call_id] = one

    def finish(self, call_id: str) -> None:
        self.running.remove(call_id)
        ok = call_id not in self.failing
        if ok:
            self.well.add(call_id)
        self.take(self.graph.finish(call_id, ok=ok, cause="broke"))

    def play(self, rng: random.Random, order: list[str], held: set[str]) -> None:
        """Seal in this order, let running calls end in between and after."""
        for call_id in order:
            sources = sorted(self.sources[call_id])
            rng.shuffle(sources)
            names = [rng.choice([one, one.replace("c0_", "c"), one.replace("c0_", "own-")]) for one in sources]
            index = int(call_id[3:])
            held_here = call_id in held
            self.take(
                self.graph.seal(call_id, turn=0, index=index, alias=f"own-{index}", sources=names, hold=held_here)
            )
            assert not held_here or call_id not in self.ready
            while self.running and rng.random() < 0.4:
                self.finish(rng.choice(self.running))
        while self.running and rng.random() < 0.5:
            self.finish(rng.choice(self.running))
        self.take(self.graph.end_turn(0))
        while self.running:
            self.finish(rng.choice(self.running))
        assert self.graph.waiting() == ()


def _behind(sources: dict[str, set[str]], wrong: Iterable[str]) -> set[str]:
    """Return the calls in `wrong` and all that use them at whatever remove, in the plainest way."""
    reached = set(wrong)
    while more := {one for one, used in sources.items() if used & reached} - reached:
        reached |= more
    return reached


def _on_a_circle(sources: dict[str, set[str]]) -> set[str]:
    users = {one: {other for other, used in sources.items() if one in used} for one in sources}
    return {one for one in sources if one in _behind(sources, users[one])}


@given(size=st.integers(1, 14), density=st.floats(0, 0.5), seed=st.integers(0, 2**32))
@settings(max_examples=250, deadline=None)
def test_each_call_is_ready_or_doomed_once(size: int, density: float, seed: int) -> None:
    """Graphs without circles, sealed in any order, with any failures: ready if and only if all ancestors went well."""
    rng = random.Random(seed)
    ids = [f"c0_{index}" for index in rng.sample(range(size), size)]
    sources = {one: {other for other in ids[:place] if rng.random() < density} for place, one in enumerate(ids)}
    failing = {one for one in ids if rng.random() < 0.15}
    watch = _Watch(sources, failing)
    watch.play(rng, rng.sample(ids, size), {one for one in ids if rng.random() < 0.2})
    lost = _behind(sources, failing)
    doomed = {one for one in lost if sources[one] & lost}
    assert set(watch.doomed) == doomed
    assert set(watch.ready) == set(ids) - doomed
    assert all(one.cause in failing and one.cause in one.message for one in watch.doomed.values())


@given(size=st.integers(1, 10), density=st.floats(0, 0.3), seed=st.integers(0, 2**32))
@settings(max_examples=250, deadline=None)
def test_exactly_the_calls_on_or_behind_circles_are_doomed(size: int, density: float, seed: int) -> None:
    """Any graph, circles and self-references included, sealed in any order."""
    rng = random.Random(seed)
    ids = [f"c0_{index}" for index in range(size)]
    sources = {one: {other for other in ids if rng.random() < density} for one in ids}
    watch = _Watch(sources, set())
    watch.play(rng, rng.sample(ids, size), {one for one in ids if rng.random() < 0.2})
    circles = _on_a_circle(sources)
    assert set(watch.doomed) == _behind(sources, circles)
    assert set(watch.ready) == set(ids) - set(watch.doomed)
    for one in watch.doomed.values():
        if not one.cause:
            assert one.call_id in circles
            _check_circle(one, sources)
        else:
            assert one.cause in circles


def _check_circle(one: Doomed, sources: dict[str, set[str]]) -> None:
    """Every arrow of the message is a reference, and the call is among them."""
    around = one.message.split(" refer")[0].split(" -> ")
    assert one.call_id in around or "more)" in one.message
    for user, used in zip(around, [*around[1:], around[0]][: max(len(around) - 1, 1)], strict=False):
        if "more)" not in user + used:
            assert used in sources[user]
