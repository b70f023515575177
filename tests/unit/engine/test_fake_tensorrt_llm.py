"""The fake TensorRT-LLM springs every trap that the wrapper's tests rely on. T and rule numbers are the reference's."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import importlib.metadata
import inspect
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.fake_tensorrt_llm import FAKE_PATH, fake_tensorrt_llm

PROMPT = [5, 6, 7]
LIMIT = 10.0


@pytest.fixture
def trt() -> Iterator[Any]:
    with fake_tensorrt_llm() as module:
        yield module


@pytest.fixture
def llm(trt: Any) -> Any:
    return trt.LLM(model="m")


def script(trt: Any, tokens: list[int], **fields: Any) -> None:
    from tensorrt_llm._control import Script

    trt.fake.script(PROMPT, Script(tokens=tokens, **fields))


def submit(trt: Any, llm: Any, *, streaming: bool = True, **sampling: Any) -> Any:
    params = trt.SamplingParams(**{"max_tokens": 100, "end_id": 2, "detokenize": False} | sampling)
    return llm.generate_async(list(PROMPT), sampling_params=params, streaming=streaming)


async def steps(result: Any, index: int = 0) -> list[list[int]]:
    """Return the ids of an output after every step."""
    async with asyncio.timeout(LIMIT):
        return [list(item.outputs[index].token_ids) async for item in result]


async def until(trt: Any, condition: Any) -> None:
    assert await asyncio.to_thread(trt.fake.wait_until, condition, LIMIT)


def test_metadata_and_isolation() -> None:
    with fake_tensorrt_llm() as module:
        assert importlib.metadata.version("tensorrt_llm") == "1.2.1" == module.__version__
        assert Path(str(module.__file__)).is_relative_to(FAKE_PATH)
        with fake_tensorrt_llm("1.3.0") as other:
            assert other is not module
            assert sys.modules["tensorrt_llm"] is other
        assert sys.modules["tensorrt_llm"] is module


async def test_generate_async_is_a_plain_function_with_three_ways_to_read(trt: Any, llm: Any) -> None:  # T1
    assert not inspect.iscoroutinefunction(llm.generate_async)
    result = submit(trt, llm)
    assert all(hasattr(result, name) for name in ("__aiter__", "__await__", "__iter__"))
    assert await result is result
    assert result.finished


@pytest.mark.parametrize("kind", [ValueError, TypeError, AssertionError, RuntimeError])
async def test_submit_raises_synchronously(trt: Any, llm: Any, kind: type[Exception]) -> None:  # T2, rule 1
    trt.fake.faults.submit_error = f"{kind.__name__}: no"
    with pytest.raises(kind, match="no"):
        submit(trt, llm)
    assert not trt.fake.calls.live


async def test_submit_refuses_what_the_real_one_does(trt: Any, llm: Any) -> None:  # T2, rule 20
    with pytest.raises(IndexError):
        llm.generate_async([], trt.SamplingParams())
    with pytest.raises(AssertionError):
        llm.generate_async([5.0], trt.SamplingParams())
    with pytest.raises(TypeError):
        llm.generate_async((5,), trt.SamplingParams())
    with pytest.raises(TypeError):
        llm.generate_async(PROMPT, {"max_tokens": 1})
    llm.shutdown()
    with pytest.raises(RuntimeError, match="LLM is shutting down"):
        submit(trt, llm)


async def test_the_same_object_and_cumulative_ids(trt: Any, llm: Any) -> None:  # T3, T4, rule 4
    script(trt, [10, 11, 12])
    result = submit(trt, llm)
    first = await anext(result)
    held = first.outputs[0].token_ids
    assert held == [10]
    async for item in result:
        assert item is first
    assert held == [10, 11, 12, 2]  # what was held has grown
    assert first.outputs[0].finish_reason == "stop"


async def test_token_ids_diff_is_stale_with_several_outputs(trt: Any, llm: Any) -> None:  # T4, rule 5
    script(trt, [], sequences=[[10, 11], [20, 21], [30, 31]])
    result = submit(trt, llm, n=3, temperature=1.0)
    sums: list[list[int]] = [[], [], []]
    async for item in result:
        for output in item.outputs:
            sums[output.index] += output.token_ids_diff
    assert [output.token_ids for output in result.outputs] == [[10, 11, 2], [20, 21, 2], [30, 31, 2]]
    assert sums != [[10, 11, 2], [20, 21, 2], [30, 31, 2]]  # adding up the diffs counts ids twice


async def test_the_last_step_can_be_shorter(trt: Any, llm: Any) -> None:  # T5, T39, T40, rules 6 and 30
    script(trt, [10, 11, 12, 13])
    result = submit(trt, llm, stop_token_ids=[12], logprobs=0)
    lengths = [len(ids) for ids in await steps(result)]
    assert lengths == [1, 2, 2]
    output = result.outputs[0]
    assert (output.finish_reason, output.stop_reason, len(output.logprobs)) == ("stop", 12, 2)
    trt.fake.settings.tokens_per_step = 3
    script(trt, [10, 11, 12, 13])
    result = submit(trt, llm, stop_token_ids=[12], include_stop_str_in_output=True)
    assert (await steps(result))[-1] == [10, 11, 12]


async def test_a_stop_word_sent_before_is_cut_off_again(trt: Any) -> None:  # T5: what was seen goes away
    llm = trt.LLM(model="m")
    ids = trt.tokenizer.byte_ids("ab")
    script(trt, [10, *ids, 13])
    result = submit(trt, llm, end_id=None, stop="ab")
    assert [len(step) for step in await steps(result)] == [1, 2, 1]


@pytest.mark.parametrize("interval", [1, 4, 20])
async def test_stream_interval(trt: Any, interval: int) -> None:  # T6, rule 24
    trt.fake.settings.natural_length = 30
    llm = trt.LLM(model="m", stream_interval=interval)
    seen = [len(ids) for ids in await steps(submit(trt, llm))]
    assert seen == sorted({1, *range(interval, 31, interval), 31})


async def test_not_streaming_gives_one_item(trt: Any, llm: Any) -> None:  # T7
    assert len(await steps(submit(trt, llm, streaming=False))) == 1


async def test_sampling_params_are_changed_and_reuse_is_noted(trt: Any, llm: Any) -> None:  # T8, T9, rules 3 and 7
    params = trt.SamplingParams(stop="x")
    await llm.generate_async(PROMPT, params)
    assert (params.end_id, params._stop_word_ids, params._stream_interval) == (2, [[123]], 1)
    assert trt.fake.calls.misuses == []
    trt.fake.settings.natural_length = 1000
    result = await llm.generate_async(PROMPT, params)
    assert result.outputs[0].length <= 32
    assert trt.fake.calls.misuses == ["a SamplingParams object was submitted twice"]


async def test_max_tokens(trt: Any) -> None:  # T9, T10, rule 7
    trt.fake.settings.natural_length = 1000
    llm = trt.LLM(model="m", max_seq_len=50)
    made = await llm.generate_async(PROMPT, trt.SamplingParams())
    assert (made.outputs[0].length, made.outputs[0].finish_reason) == (32, "length")
    for given in (None, 5000):
        assert (await submit(trt, llm, max_tokens=given)).outputs[0].length == 47
    for bad in (0, -1):
        with pytest.raises(trt.llmapi.RequestError, match="max_tokens"):
            await submit(trt, llm, max_tokens=bad)


async def test_prompt_limits(trt: Any) -> None:  # T32, rule 25
    llm = trt.LLM(model="m", max_num_tokens=10, max_seq_len=20)
    with pytest.raises(ValueError, match="max_num_tokens"):
        llm.generate_async([5] * 11, trt.SamplingParams())
    chunked = trt.LLM(model="m", max_num_tokens=10, max_seq_len=20, enable_chunked_prefill=True)
    await chunked.generate_async([5] * 11, trt.SamplingParams())
    result = chunked.generate_async([5] * 20, trt.SamplingParams())
    with pytest.raises(trt.llmapi.RequestError, match="default_max_tokens"):
        await result


async def test_end_id_with_stop_strings_fails_at_iteration(trt: Any, llm: Any) -> None:  # T11, rule 8
    result = submit(trt, llm, stop="x")
    with pytest.raises(RuntimeError, match="not processed by tokenizer"):
        await anext(result)


async def test_ignore_eos_drops_stop_ids(trt: Any, llm: Any) -> None:  # T12, rule 9
    script(trt, [10, 11, 12])
    output = (await submit(trt, llm, stop_token_ids=[11], ignore_eos=True, max_tokens=6)).outputs[0]
    assert output.token_ids[:3] == [10, 11, 12]
    assert (output.length, output.finish_reason) == (6, "length")


async def test_a_text_stop_leaves_the_engine_decoding(trt: Any, llm: Any) -> None:  # T13, T14, rules 10 to 12
    trt.fake.settings.max_seq_len = 1_000_000
    stop = trt.tokenizer.FakeTokenizer().decode([300])
    script(trt, [10, 300] + [11] * 100_000)
    result = submit(trt, llm, end_id=None, stop=stop, detokenize=True, max_tokens=100_000)
    async for _ in result:
        pass
    output = result.outputs[0]
    assert (output.finish_reason, output.stop_reason) == ("stop", stop)
    assert stop not in output.text
    assert 300 in output.token_ids  # not cut
    before = trt.fake.calls.tokens_made
    await until(trt, lambda: trt.fake.calls.tokens_made > before + 10)
    assert trt.fake.calls.kv_held > 0
    result.abort()
    await until(trt, lambda: not trt.fake.calls.live)
    assert trt.fake.calls.kv_held == 0


async def test_cancelling_the_task_does_not_abort(trt: Any, llm: Any) -> None:  # T15, rule 14
    trt.fake.settings.natural_length = 3000
    result = submit(trt, llm, max_tokens=3000)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(steps(result))
        await until(trt, lambda: trt.fake.calls.tokens_made > 3)
        task.cancel()
    assert trt.fake.calls.aborts == []
    assert trt.fake.calls.live


async def test_abort_then_one_cancelled_item(trt: Any, llm: Any) -> None:  # T17, rule 15
    script(trt, [10], finish="hang")
    result = submit(trt, llm)
    await anext(result)
    result.abort()
    result.abort()
    item = await anext(result)
    assert (item.outputs[0].finish_reason, item.finished, item.aborted()) == ("cancelled", True, True)
    with pytest.raises(StopAsyncIteration):
        await anext(result)
    result.abort()
    llm.shutdown()
    gc.collect()
    with pytest.raises(AttributeError):
        result.abort()


async def test_abort_is_never_answered(trt: Any, llm: Any) -> None:  # T18
    trt.fake.faults.abort_ignored = True
    script(trt, [10], finish="hang")
    result = submit(trt, llm)
    await anext(result)
    result.abort()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(result), 0.1)
    assert trt.fake.calls.aborts == [result.request_id]
    assert trt.fake.calls.live


async def test_abort_is_answered_late(trt: Any, llm: Any) -> None:
    trt.fake.faults.abort_seconds = 0.1
    script(trt, [10], finish="hang")
    result = submit(trt, llm)
    result.abort()
    assert not trt.fake.calls.cancelled
    assert (await steps(result))[-1] == [10]
    assert trt.fake.calls.cancelled == [result.request_id]


async def test_an_error_leaves_done_false_and_then_hangs(trt: Any, llm: Any) -> None:  # T19, T20, rules 16 and 33
    script(trt, [10], error="bad luck")
    bad = submit(trt, llm)
    other = llm.generate_async([9, 9], trt.SamplingParams(end_id=2))
    assert (await anext(bad)).outputs[0].token_ids == [10]
    with pytest.raises(RuntimeError, match="bad luck") as caught:
        await anext(bad)
    assert type(caught.value) is trt.llmapi.RequestError
    assert not bad.finished
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(bad), 0.05)
    assert (await other).outputs[0].finish_reason == "stop"
    assert not trt.fake.calls.shutdowns


async def test_a_fatal_error_surfaces_elsewhere_and_shuts_down_here(trt: Any, llm: Any) -> None:  # T21, rule 2
    trt.fake.faults.shutdown_seconds = 0.2
    script(trt, [10], finish="hang")
    victim = submit(trt, llm)
    await anext(victim)
    trt.fake.fail(MemoryError("of somebody else"))
    before = time.monotonic()
    with pytest.raises(MemoryError, match="of somebody else"):
        submit(trt, llm)
    assert time.monotonic() - before >= 0.2
    assert trt.fake.calls.shutdowns == [threading.get_ident()]
    assert not llm._check_health()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(victim), 0.05)


async def test_a_fatal_error_surfaces_in_a_response(trt: Any, llm: Any) -> None:  # rule 2
    trt.fake.faults.fatal_error = "CUDA error"
    trt.fake.faults.fatal_after = 3
    from tensorrt_llm.executor import CppExecutorError

    with pytest.raises(CppExecutorError, match="CUDA error"):
        await steps(submit(trt, llm))


@pytest.mark.parametrize("how", ["fault", "kill"])
async def test_a_dead_worker_is_silent(trt: Any, llm: Any, how: str) -> None:  # T22, T23, rule 18
    trt.fake.settings.natural_length = 3000
    trt.fake.faults.dead_after = 3 if how == "fault" else None
    result = submit(trt, llm, max_tokens=3000)
    await anext(result)
    if how == "kill":
        trt.fake.kill_workers()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(result.aresult(), 0.2)
    assert llm._check_health()
    later = submit(trt, llm)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(later), 0.05)


async def test_a_slow_prefill_is_alive(trt: Any, llm: Any) -> None:  # T24, rule 14: a timed-out anext loses nothing
    trt.fake.faults.prefill_seconds = 0.2
    script(trt, [10, 11])
    result = submit(trt, llm)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(result), 0.02)
    assert await steps(result) == [[10], [10, 11], [10, 11, 2]]


async def test_silent_corruption(trt: Any, llm: Any) -> None:  # T24, rule 34
    right = list((await submit(trt, llm)).outputs[0].token_ids)
    assert list((await submit(trt, llm)).outputs[0].token_ids) == right
    trt.fake.faults.wrong_tokens = True
    assert list((await submit(trt, llm)).outputs[0].token_ids) != right
    trt.fake.faults.zero_tokens = True
    output = (await submit(trt, llm)).outputs[0]
    assert (output.token_ids, output.finish_reason) == ([], "stop")


async def test_a_second_thread_is_refused(trt: Any, llm: Any) -> None:  # T25, rules 17 and 27
    await submit(trt, llm)
    with pytest.raises(Exception, match="second thread"):
        await asyncio.to_thread(submit, trt, llm)
    assert trt.fake.calls.misuses == ["generate_async was called from a second thread or event loop"]


async def test_a_second_loop_loses_wake_ups(trt: Any, llm: Any) -> None:  # T25, rule 17
    from tensorrt_llm.executor.utils import AsyncQueue

    queues: list[Any] = []
    waiting, woken = threading.Event(), threading.Event()

    async def wait() -> None:
        queues.append(AsyncQueue())
        asyncio.get_running_loop().call_soon(waiting.set)  # runs when `get` waits
        await queues[0].get()
        woken.set()

    here = AsyncQueue()
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.to_thread(asyncio.run, wait()))
        assert await asyncio.to_thread(waiting.wait, LIMIT)
        for queue in (here, queues[0]):
            queue.put_silently("item")
        # What the dispatcher does with a batch for both loops: it wakes all of them on the first one's.
        AsyncQueue.notify_many(here.loop, [here, queues[0]])
        assert await here.get() == "item"
        assert not await asyncio.to_thread(woken.wait, 0.1)
        queues[0].loop.call_soon_threadsafe(lambda: None)  # anything else that wakes that loop
        assert await asyncio.to_thread(woken.wait, LIMIT)


async def test_losing_wake_ups_can_be_let_pass(trt: Any, llm: Any) -> None:  # T25
    await submit(trt, llm)
    trt.fake.faults.lose_wakeups = True
    await asyncio.to_thread(submit, trt, llm)
    assert len(trt.fake.calls.submits) == 2
    assert len(trt.fake.calls.misuses) == 1


def test_submit_without_a_loop(trt: Any, llm: Any) -> None:  # T26
    result = submit(trt, llm)

    async def iterate() -> None:
        await anext(result)

    with pytest.raises(AssertionError, match="event loop was not present"):
        asyncio.run(iterate())
    assert result.result(timeout=LIMIT).finished


async def test_shutdown_can_hang(trt: Any, llm: Any) -> None:  # T27, rule 19
    trt.fake.faults.shutdown_hang = True
    thread = threading.Thread(target=llm.shutdown, daemon=True)
    thread.start()
    await until(trt, lambda: trt.fake.calls.shutdowns)
    thread.join(0.05)
    assert thread.is_alive()
    trt.fake.reset()
    thread.join(LIMIT)
    assert not thread.is_alive()


def test_dropping_the_last_reference_shuts_down(trt: Any) -> None:  # T27, rule 19
    llm = trt.LLM(model="m")
    del llm
    gc.collect()
    assert trt.fake.calls.shutdowns == [threading.get_ident()]


def test_double_shutdown(trt: Any, llm: Any) -> None:  # T27
    llm.shutdown()
    llm.shutdown()
    assert len(trt.fake.calls.shutdowns) == 1


def test_construction(trt: Any) -> None:  # T28
    with pytest.raises(ValueError, match="max_batchsize is not a valid argument"):
        trt.LLM(model="m", max_batchsize=1)
    with pytest.raises(ValueError, match="kv_cache_config"):
        trt.LLM(model="m", kv_cache_config={"fraction": 1})
    trt.fake.faults.construct_error = "out of memory"
    with pytest.raises(RuntimeError, match="out of memory"):
        trt.LLM(model="m")
    trt.fake.faults.construct_error = ""
    trt.fake.faults.construct_hang = True
    thread = threading.Thread(target=trt.LLM, args=("m",), daemon=True)
    thread.start()
    thread.join(0.05)
    assert thread.is_alive()
    trt.fake.reset()
    thread.join(LIMIT)
    assert not thread.is_alive()


async def test_guides_are_dropped_without_a_backend(trt: Any, llm: Any) -> None:  # T34, rule 22
    guided = trt.LLM(model="m", guided_decoding_backend="xgrammar")
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}

    async def text(engine: Any, json: Any) -> str:
        params = trt.SamplingParams(guided_decoding=trt.llmapi.GuidedDecodingParams(json=json), max_tokens=100)
        return str((await engine.generate_async(PROMPT, params)).outputs[0].text)

    assert await text(guided, schema) == '{"a": 0}'
    assert await text(llm, schema) != '{"a": 0}'
    assert await text(guided, {"name": "x", "schema": schema}) != '{"a": 0}'
    assert [call.guide_enforced for call in trt.fake.calls.submits] == [True, False, False]
    with pytest.raises(ValueError, match="Only one guide"):
        trt.SamplingParams(guided_decoding=trt.llmapi.GuidedDecodingParams(regex="a", json_object=True))


async def test_penalties_and_seed_do_nothing(trt: Any, llm: Any) -> None:  # T35, rule 23
    plain = list((await submit(trt, llm)).outputs[0].token_ids)
    odd = await submit(trt, llm, seed=1, repetition_penalty=2.0, presence_penalty=1.0, frequency_penalty=1.0)
    assert list(odd.outputs[0].token_ids) == plain


async def test_stats_queue_form(trt: Any) -> None:  # T37, rule 26
    trt.fake.settings.stats_form = "queue"
    llm = trt.LLM(model="m", enable_iter_perf_stats=True)
    assert not hasattr(llm._executor, "rpc_client")
    assert [item async for item in llm.get_stats_async(0.01)] == []
    with pytest.raises(AssertionError):
        llm.get_kv_cache_events_async(0.01)
    await submit(trt, llm)
    assert [item async for item in llm.get_stats_async(0.02)]
    started = time.monotonic()
    assert [item async for item in llm.get_stats_async(0.5)] == []
    assert time.monotonic() - started < 0.4  # it stays ended until another request
    await submit(trt, llm)
    assert [item async for item in llm.get_stats_async(0.02)]


async def test_stats_rpc_form_blocks_the_loop(trt: Any) -> None:  # T37, rule 26
    llm = trt.LLM(model="m", enable_iter_perf_stats=True, iter_stats_max_iterations=5)
    assert hasattr(llm._executor, "rpc_client")
    started = time.monotonic()
    items = llm.get_stats_async(0.2)  # no await, and yet
    assert time.monotonic() - started >= 0.2
    assert [item async for item in items] == []
    await submit(trt, llm)
    assert 0 < len(llm.get_stats(0.01)) <= 5
    assert llm.get_stats(0.01) == []  # reading takes them away
    await submit(trt, llm)
    trt.fake.faults.stats_fail = True
    assert llm.get_stats(0.01) == []


async def test_kv_events_and_cached_tokens(trt: Any) -> None:  # T38, T44
    llm = trt.LLM(model="m", kv_cache_config=trt.llmapi.KvCacheConfig(event_buffer_max_size=100, tokens_per_block=4))
    prompt = list(range(10, 22))

    async def cached(salt: str) -> int:
        params = trt.SamplingParams(end_id=2, detokenize=False)
        return int((await llm.generate_async(prompt, params, cache_salt=salt)).cached_tokens)

    assert [await cached("a"), await cached("a"), await cached("b")] == [0, 8, 0]
    trt.fake.evict()
    events = llm.get_kv_cache_events(0.01)
    assert [event["event_id"] for event in events] == [0, 1, 2, 3]
    assert [event["data"]["type"] for event in events] == ["created", "stored", "stored", "removed"]
    assert [len(block["tokens"]) for block in events[1]["data"]["blocks"]] == [4, 4]


async def test_logprobs_as_floats_or_dicts(trt: Any, llm: Any) -> None:  # T39
    output = (await submit(trt, llm, logprobs=0)).outputs[0]
    assert [list(entry) for entry in output.logprobs] == [[token] for token in output.token_ids]
    trt.fake.settings.logprobs_form = "float"
    output = (await submit(trt, llm, logprobs=0)).outputs[0]
    assert len(output.logprobs) == output.length
    assert all(isinstance(entry, float) for entry in output.logprobs)


async def test_stop_word_on_the_last_token_and_across_the_prompt(trt: Any, llm: Any) -> None:  # T40, rule 30
    script(trt, [10, 11, 12])
    output = (await submit(trt, llm, stop_token_ids=[11], max_tokens=2)).outputs[0]
    assert (output.token_ids, output.finish_reason) == ([10, 11], "length")
    byte = trt.tokenizer.byte_ids("ab")
    from tensorrt_llm._control import Script

    trt.fake.script([9, byte[0]], Script(tokens=[byte[1], 50]))
    across = llm.generate_async([9, byte[0]], trt.SamplingParams(stop="ab", detokenize=False))
    output = (await across).outputs[0]
    assert (output.token_ids, output.finish_reason, output.stop_reason) == ([byte[1]], "stop", None)


@pytest.mark.parametrize("finish", ["timeout", "not_finished"])
async def test_finish_reasons(trt: Any, llm: Any, finish: str) -> None:  # T40
    script(trt, [10], finish=finish)
    output = (await submit(trt, llm)).outputs[0]
    assert (output.token_ids, output.finish_reason) == ([10], finish)


async def test_an_unknown_finish_reason(trt: Any, llm: Any) -> None:  # T40
    script(trt, [10], finish="bored")
    with pytest.raises(ValueError, match="Unknown finish reason: bored"):
        await submit(trt, llm)


async def test_results_are_not_kept(trt: Any, llm: Any) -> None:  # T41, rule 28
    result = await submit(trt, llm)
    output = weakref.ref(result.outputs[0])
    del result
    await submit(trt, llm)  # the dispatcher has gone on
    gc.collect()
    assert output() is None


def test_signature_by_version(trt: Any) -> None:  # T45
    assert "priority" not in inspect.signature(trt.LLM.generate_async).parameters
    trt.fake.use_version("1.3.0")
    parameters = list(inspect.signature(trt.LLM.generate_async).parameters)
    assert parameters[-3:] == ["conversation_params", "cache_salt", "priority"]
    with pytest.raises(ValueError, match="priority"):
        trt.LLM(model="m").generate_async(PROMPT, priority=2.0)


def test_lora_path_must_exist(trt: Any, tmp_path: Path) -> None:  # T46
    with pytest.raises(ValueError, match="does not exist"):
        trt.executor.LoRARequest("a", 1, str(tmp_path / "none"))
    assert trt.executor.LoRARequest("a", 7, str(tmp_path)).adapter_id == 7


async def test_context_only_hands_over(trt: Any, llm: Any) -> None:  # T49, section 2.3
    params = trt.SamplingParams(max_tokens=50, end_id=2)
    wanted = trt.DisaggregatedParams(request_type="context_only")
    output = (await llm.generate_async(PROMPT, params, disaggregated_params=wanted)).outputs[0]
    assert params.max_tokens == 1
    assert (output.finish_reason, output.length) == ("not_finished", 1)
    assert output.disaggregated_params.first_gen_tokens == output.token_ids


def test_sampling_params_are_slotted_and_checked(trt: Any) -> None:  # section 2.4
    params = trt.SamplingParams()
    with pytest.raises(AttributeError):
        params.max_token = 5
    with pytest.raises(TypeError):
        trt.SamplingParams(max_token=5)
    few = {"n": 2, "best_of": 1, "temperature": 1.0}
    for bad in ({"top_p": 1.1}, {"top_k": -1}, {"temperature": -0.1}, few, {"n": 2}):
        with pytest.raises(ValueError):  # noqa: PT011  each has its own text
            trt.SamplingParams(**bad)
    assert trt.SamplingParams()._greedy_decoding
    assert not trt.SamplingParams(temperature=0.5)._greedy_decoding
    assert {"end_id", "seed", "guided_decoding"} <= {part.name for part in dataclasses.fields(params)}


async def test_text_prompts_get_bos_and_no_template(trt: Any, llm: Any) -> None:  # T33, rule 21
    await llm.generate_async("<s>hi", trt.SamplingParams())
    assert trt.fake.calls.submits[0].prompt_token_ids[0] == trt.tokenizer.BOS_ID


def test_unknown_faults_in_the_environment_are_refused(trt: Any) -> None:
    trt.fake.load('{"faults": {"shutdown_hang": true}, "scripts": [{"prompt": [1], "tokens": [2]}]}')
    assert trt.fake.faults.shutdown_hang
    assert trt.fake.scripts[1,].tokens == [2]
    with pytest.raises(ValueError, match="no faults called oops"):
        trt.fake.load('{"faults": {"oops": 1}}')
