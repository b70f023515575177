"""The stepping thread around a fake pipeline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from engine_fixtures import FAKE_EOS, FakeWorld, fake_logprob
from podium.engine.job import JobOutput, JobSpec, TokenLogprob
from podium.engine.quarantine import guide_digest
from podium.engine.stepper import Delivery, Stepper, StepperState
from podium.errors import AlreadyExists, InvalidRequest, ResourceExhausted, Unavailable
from podium.inference.engine import FinishReason, Guide, GuideKind

FAR = 1e12


class Sink:
    """Keeps a job's outputs."""

    def __init__(self) -> None:
        self.outputs: list[JobOutput] = []
        self.ended = threading.Event()

    def put(self, output: JobOutput) -> None:
        self.outputs.append(output)
        if output.finish is not None or output.error is not None:
            self.ended.set()

    @property
    def ids(self) -> list[int]:
        return [token for output in self.outputs for token in output.token_ids]

    def last(self) -> JobOutput:
        assert self.ended.wait(10)
        return self.outputs[-1]


def deliver(batch: Sequence[Delivery]) -> None:
    for sink, output in batch:
        sink.put(output)


def job(name: str, *, first: int = 100, max_tokens: int = 4, guide: str = "", **rest: object) -> JobSpec:
    wanted = Guide(GuideKind.REGEX, guide) if guide else None
    return JobSpec(
        request_id=name,
        prompt=(first,),
        max_tokens=max_tokens,
        guide=wanted,
        guide_digest="" if wanted is None else guide_digest(wanted),
        **{"deadline": FAR, **rest},  # type: ignore[arg-type]
    )


def until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.001)


@pytest.fixture
def world() -> FakeWorld:
    return FakeWorld()


class Made:
    """Steppers of one test, closed at its end."""

    def __init__(self, world: FakeWorld) -> None:
        self.world = world
        self.states: list[StepperState] = []
        self.all: list[Stepper] = []

    def __call__(self, **options: object) -> Stepper:
        values = {"max_active": 4, "max_waiting": 4, "cache_tokens": 10_000, **options}
        stepper = Stepper(
            self.world.build,
            deliver=deliver,
            on_state=self.states.append,
            eos_token_ids=frozenset({FAKE_EOS}),
            **values,  # type: ignore[arg-type]
        )
        self.all.append(stepper)
        stepper.start()
        until(lambda: stepper.state is not StepperState.STARTING)
        return stepper


@pytest.fixture
def make(world: FakeWorld) -> Iterator[Made]:
    made = Made(world)
    yield made
    for stepper in made.all:
        if world.gate is not None:
            world.gate.set()
        assert stepper.close(10)


def run(stepper: Stepper, spec: JobSpec) -> Sink:
    sink = Sink()
    stepper.submit(spec, sink)
    sink.last()
    return sink


def test_a_job_yields_its_tokens_and_ends_by_length(make: Made) -> None:
    sink = run(make(), job("a", max_tokens=3))
    assert sink.ids == [101, 102, 103]
    assert sink.last().finish is FinishReason.LENGTH


def test_a_stop_token_is_cut_off_and_named_and_the_engine_stops(make: Made, world: FakeWorld) -> None:
    stepper = make()
    sink = run(stepper, job("a", max_tokens=50, stop_token_ids=frozenset({103})))
    assert sink.ids == [101, 102]
    assert (sink.last().finish, sink.last().matched_stop) == (FinishReason.STOP, 103)
    until(lambda: world.handles[0].cancelled)


def test_a_stop_token_stays_when_asked_for(make: Made) -> None:
    assert run(make(), job("a", stop_token_ids=frozenset({102}), include_stop=True)).ids == [101, 102]


@pytest.mark.parametrize(("kept", "expected"), [(False, [101, 102]), (True, [101, 102, 103])])
def test_log_probabilities_are_those_of_the_ids_that_stay(make: Made, kept: bool, expected: list[int]) -> None:
    asked = job("a", max_tokens=9, stop_token_ids=frozenset({103}), include_stop=kept, logprobs=0)
    told = [entry for output in run(make(), asked).outputs for entry in output.logprobs or ()]
    assert told == [TokenLogprob(token, fake_logprob(token)) for token in expected]


def test_without_being_asked_for_there_are_no_log_probabilities(make: Made) -> None:
    assert all(output.logprobs is None for output in run(make(), job("a")).outputs)


def test_the_end_of_sequence_stays_as_the_last_token(make: Made) -> None:
    sink = run(make(), job("a", first=FAKE_EOS - 2, max_tokens=9))
    assert sink.ids == [1, FAKE_EOS]
    assert (sink.last().finish, sink.last().matched_stop) == (FinishReason.STOP, None)


def test_the_end_of_sequence_can_be_ignored_while_stop_tokens_still_count(make: Made) -> None:
    sink = run(make(), job("a", first=1, max_tokens=9, ignore_eos=True, stop_token_ids=frozenset({4})))
    assert sink.ids == [2, 3]


def test_abort_ends_the_job_as_cancelled_and_frees_the_engine(make: Made, world: FakeWorld) -> None:
    world.step_seconds = 0.002
    stepper = make()
    sink = Sink()
    stepper.submit(job("a", max_tokens=10_000), sink)
    until(lambda: len(sink.ids) > 2)
    assert stepper.abort("a")
    assert sink.last().finish is FinishReason.CANCELLED
    until(lambda: world.handles[0].cancelled)
    steps = world.steps
    time.sleep(0.05)
    assert world.steps <= steps + 1, "nothing is stepped once nothing is in flight"
    assert stepper.in_flight == 0


def test_abort_of_an_unknown_or_ended_job_is_harmless(make: Made) -> None:
    stepper = make()
    run(stepper, job("a"))
    assert not stepper.abort("a")
    assert not stepper.abort("never")


def test_a_waiting_job_can_be_aborted_without_ever_running(make: Made, world: FakeWorld) -> None:
    world.gate = threading.Event()
    stepper = make(max_active=1)
    first, second = Sink(), Sink()
    stepper.submit(job("a"), first)
    stepper.submit(job("b"), second)
    stepper.abort("b")
    world.gate.set()
    assert second.last().finish is FinishReason.CANCELLED
    assert second.ids == []
    first.last()
    assert len(world.handles) == 1


def test_a_passed_deadline_ends_the_job_as_timeout(make: Made, world: FakeWorld) -> None:
    world.step_seconds = 0.002
    sink = run(make(), job("a", max_tokens=10_000, deadline=time.monotonic() + 0.05))
    assert sink.last().finish is FinishReason.TIMEOUT
    assert sink.ids


def test_ids_in_flight_are_unique(make: Made, world: FakeWorld) -> None:
    world.gate = threading.Event()
    stepper = make()
    sink = Sink()
    stepper.submit(job("a"), sink)
    with pytest.raises(AlreadyExists):
        stepper.submit(job("a"), Sink())
    world.gate.set()
    sink.last()
    run(stepper, job("a"))


def test_a_full_queue_refuses_with_a_time_to_retry(make: Made, world: FakeWorld) -> None:
    world.gate = threading.Event()
    stepper = make(max_active=1, max_waiting=2)
    sinks = [Sink() for _ in range(3)]
    for number, sink in enumerate(sinks):
        stepper.submit(job(str(number)), sink)
    with pytest.raises(ResourceExhausted) as refused:
        stepper.submit(job("late"), Sink())
    assert refused.value.retry_after
    world.gate.set()
    for sink in sinks:
        assert sink.last().finish is FinishReason.LENGTH


def test_the_cache_bounds_what_runs_at_once(make: Made, world: FakeWorld) -> None:
    world.step_seconds = 0.001
    stepper = make(cache_tokens=25)
    sinks = [Sink() for _ in range(4)]
    for number, sink in enumerate(sinks):
        stepper.submit(job(str(number), max_tokens=9), sink)
    for sink in sinks:
        assert sink.last().finish is FinishReason.LENGTH
    # Ten tokens each: two fit at a time, so two rounds of nine steps.
    assert world.steps >= 18


def test_an_engine_refusal_fails_one_job_only(make: Made) -> None:
    stepper = make()
    assert isinstance(run(stepper, job("a", first=999)).last().error, InvalidRequest)
    assert run(stepper, job("b")).last().finish is FinishReason.LENGTH


def test_a_poisonous_guide_fails_what_is_in_flight_then_is_refused(make: Made, world: FakeWorld) -> None:
    world.poison, world.step_seconds = "poison", 0.002
    stepper = make(max_active=16, max_waiting=16)
    good = [Sink() for _ in range(8)]
    for number, sink in enumerate(good):
        stepper.submit(job(f"good{number}", max_tokens=500), sink)
    until(lambda: all(sink.ids for sink in good))
    bad = run(stepper, job("bad", guide="poison"))
    for sink in [*good, bad]:
        error = sink.last().error
        assert isinstance(error, Unavailable)
        assert error.retry_after
    until(lambda: stepper.state is StepperState.READY)
    assert world.builds == 2
    with pytest.raises(InvalidRequest, match="refused"):
        stepper.submit(job("again", guide="poison"), Sink())
    assert run(stepper, job("next")).ids == [101, 102, 103, 104]
    assert StepperState.REBUILDING in make.states


def test_of_several_new_guides_only_the_guilty_is_quarantined(make: Made, world: FakeWorld) -> None:
    world.poison, world.gate = "poison", threading.Event()
    stepper = make()
    first = Sink()
    stepper.submit(job("a", max_tokens=2), first)
    sinks = {guide: Sink() for guide in ("fine", "poison", "good")}
    for guide, sink in sinks.items():
        stepper.submit(job(guide, guide=guide), sink)
    world.gate.set()
    for sink in sinks.values():
        assert isinstance(sink.last().error, Unavailable)
    until(lambda: stepper.state is StepperState.READY and stepper.in_flight == 0)
    for guide in ("fine", "good"):
        assert run(stepper, job(guide, guide=guide)).last().finish is FinishReason.LENGTH
    with pytest.raises(InvalidRequest):
        stepper.submit(job("poison", guide="poison"), Sink())


def test_waiting_jobs_survive_a_rebuild(make: Made, world: FakeWorld) -> None:
    world.gate, world.fail_next_steps = threading.Event(), 1
    stepper = make(max_active=1)
    first, second = Sink(), Sink()
    stepper.submit(job("a"), first)
    stepper.submit(job("b"), second)
    world.gate.set()
    assert isinstance(first.last().error, Unavailable)
    assert second.last().finish is FinishReason.LENGTH


def test_a_guide_that_already_worked_is_not_blamed(make: Made, world: FakeWorld) -> None:
    world.step_seconds = 0.002
    stepper = make()
    sink = Sink()
    stepper.submit(job("a", guide="fine", max_tokens=500), sink)
    until(lambda: bool(sink.ids))
    world.fail_next_steps = 1
    assert isinstance(sink.last().error, Unavailable)
    assert run(stepper, job("b", guide="fine")).last().finish is FinishReason.LENGTH


def test_an_engine_that_always_fails_ends_as_failed_and_tells_everybody(make: Made, world: FakeWorld) -> None:
    world.fail_next_steps = 100
    stepper = make(max_active=1)
    sinks = [Sink() for _ in range(5)]
    for number, sink in enumerate(sinks):
        stepper.submit(job(str(number)), sink)
    for sink in sinks:
        assert isinstance(sink.last().error, Unavailable)
    until(lambda: stepper.state is StepperState.FAILED)
    with pytest.raises(Unavailable):
        stepper.submit(job("late"), Sink())


def test_a_model_that_does_not_load_is_failed_not_a_hang(make: Made, world: FakeWorld) -> None:
    world.fail_builds = 1
    stepper = make()
    assert stepper.state is StepperState.FAILED


def test_close_fails_what_is_in_flight_as_retryable(make: Made, world: FakeWorld) -> None:
    world.step_seconds = 0.002
    stepper = make()
    sink = Sink()
    stepper.submit(job("a", max_tokens=10_000), sink)
    until(lambda: bool(sink.ids))
    assert stepper.close(10)
    assert isinstance(sink.last().error, Unavailable)
    assert stepper.state is StepperState.STOPPED


def test_the_log_names_the_failure_without_its_text(
    make: Made, world: FakeWorld, caplog: pytest.LogCaptureFixture
) -> None:
    world.fail_next_steps = 1
    run(make(), job("a"))
    assert "json_schema_converter.cc:898" in caplog.text
    assert "secret" not in caplog.text
