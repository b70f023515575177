"""The proxy: submit, abort, dispatch, errors and shutdown (`executor.py@ed53795`, `proxy.py@b93e14c` [A])."""

from __future__ import annotations

import asyncio
import itertools
import queue
import threading
from typing import Any

from tensorrt_llm._control import Submit, fake
from tensorrt_llm.executor.iteration import IterationResult, RpcClient, RpcIterationResult, empty_async_iterable
from tensorrt_llm.executor.request import CancellingRequest, GenerationRequest
from tensorrt_llm.executor.result import GenerationResult
from tensorrt_llm.executor.utils import AsyncQueue, MisuseError, RequestError
from tensorrt_llm.executor.worker import Worker

__all__ = ["CppExecutorError", "GenerationExecutorProxy"]

_request_ids = itertools.count(2)


class CppExecutorError(RuntimeError):
    """The C++ executor failed: fatal for the engine."""

    def __init__(self, message: str | None = None) -> None:
        self.message = message
        super().__init__(message)


class GenerationExecutorProxy:
    """The caller's side. Threads hold no reference to it, so dropping the last one is seen (rules 15 and 19)."""

    def __init__(self, args: dict[str, Any]) -> None:
        self.errors: queue.Queue[Exception] = queue.Queue()
        self._responses: queue.Queue[Any] = queue.Queue()
        self._results: dict[int, GenerationResult] = {}
        self.worker = Worker(args, self._responses, self.errors)
        self._dispatcher: threading.Thread | None = None
        self._owner: tuple[int, asyncio.AbstractEventLoop | None] | None = None
        self._shut_down = False
        self._stats: IterationResult | None = None
        self._kv_events: IterationResult | None = None
        if fake.settings.stats_form == "rpc":
            self.rpc_client = RpcClient()
        fake.engine_started(self)

    def release(self) -> None:
        """Only in the fake: end the threads without the formalities."""
        self._shut_down = True
        self.worker.stop()
        self._responses.put(None)

    def is_shutdown(self) -> bool:
        """Whether `shutdown()` has begun. A dead worker does not count (rule 18)."""
        return self._shut_down

    def submit(self, request: GenerationRequest, facts: dict[str, Any], tokenizer: Any) -> GenerationResult:
        """Queue a request and return its result; may raise a fatal error that is somebody else's (rule 2)."""
        self._check_owner()
        self._start_iteration_results()
        if self._dispatcher is None:
            # Rule 27: the thread is started at the first submit, without a lock.
            self._dispatcher = threading.Thread(
                target=_dispatch, args=(self._responses, self._results), name="fake-trtllm-dispatcher", daemon=True
            )
            self._dispatcher.start()
        request.id = next(_request_ids)
        result_class: type[GenerationResult] = facts["result_class"]
        result = result_class(request, self._handle_background_error, self, tokenizer, facts["prompt"])
        self._results[request.id] = result
        with fake.changed:
            fake.calls.submits.append(
                Submit(
                    request_id=request.id,
                    prompt_token_ids=tuple(request.prompt_token_ids),
                    sampling=facts["sampling"],
                    streaming=request.streaming,
                    arguments=facts["arguments"],
                    guide_enforced=request.guide is not None,
                    thread=threading.get_ident(),
                )
            )
            fake.calls.live[request.id] = len(request.prompt_token_ids)
            fake.changed.notify_all()
        self.worker.requests.put(request)
        self._handle_background_error()
        return result

    def abort_request(self, request_id: int) -> None:
        """Queue a cancellation and return (rule 15)."""
        with fake.changed:
            fake.calls.aborts.append(request_id)
            fake.changed.notify_all()
        if fake.faults.abort_ignored:
            return
        if fake.faults.abort_seconds > 0:
            later = threading.Timer(
                fake.faults.abort_seconds, self.worker.requests.put, args=(CancellingRequest(request_id),)
            )
            later.daemon = True
            later.start()
            return
        self.worker.requests.put(CancellingRequest(request_id))

    def shutdown(self) -> None:
        """Stop everything, blocking the calling thread for as long as the workers take (rule 19)."""
        if self._shut_down:
            return
        self._shut_down = True
        with fake.changed:
            fake.calls.shutdowns.append(threading.get_ident())
            fake.changed.notify_all()
        if fake.faults.shutdown_hang:
            fake.hang()
        fake.sleep(fake.faults.shutdown_seconds)
        self.worker.stop()
        self.worker.thread.join()
        self._responses.put(None)
        if self._dispatcher is not None:
            self._dispatcher.join()

    def get_stats(self, timeout: float) -> list[dict[str, Any]]:
        """Read iteration statistics, blocking; none before the first request in the queue form."""
        if client := getattr(self, "rpc_client", None):
            return client.fetch(self._take_stats, timeout)  # type: ignore[no-any-return]
        if self._stats is None:
            return []
        self._stats.set_timeout(timeout)
        return self._stats.get_results()

    def aget_stats(self, timeout: float) -> Any:
        """Return an async iterable of statistics; the RPC form blocks right here for up to `timeout` (rule 26)."""
        if client := getattr(self, "rpc_client", None):
            return RpcIterationResult(client.fetch(self._take_stats, timeout))
        if self._stats is None:
            return empty_async_iterable()
        self._stats.set_timeout(timeout)
        return self._stats

    def get_kv_events(self, timeout: float) -> list[dict[str, Any]]:
        """Read KV cache events, blocking; an assertion before the first request in the queue form."""
        if client := getattr(self, "rpc_client", None):
            return client.fetch(self.worker.kv.take_events, timeout)  # type: ignore[no-any-return]
        assert self._kv_events is not None, "KV Event IterationResult is not properly instantiated."
        self._kv_events.set_timeout(timeout)
        return self._kv_events.get_results()

    def aget_kv_events(self, timeout: float) -> Any:
        """Return an async iterable of KV cache events, like `aget_stats`."""
        if client := getattr(self, "rpc_client", None):
            return RpcIterationResult(client.fetch(self.worker.kv.take_events, timeout))
        assert self._kv_events is not None, "KV Event IterationResult is not properly instantiated."
        self._kv_events.set_timeout(timeout)
        return self._kv_events

    def _take_stats(self) -> list[dict[str, Any]]:
        taken = self.worker.stats[:]
        del self.worker.stats[: len(taken)]
        return taken

    def _start_iteration_results(self) -> None:
        if hasattr(self, "rpc_client"):
            return
        if self._stats is None or self._kv_events is None:
            self._stats = IterationResult(self._take_stats)
            self._kv_events = IterationResult(self.worker.kv.take_events)
        else:
            self._stats.mark_undone()
            self._kv_events.mark_undone()

    def _check_owner(self) -> None:
        """Rules 17 and 27: one thread and one loop. The real one says nothing; wake-ups get lost later."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        caller = (threading.get_ident(), loop)
        if self._owner is None:
            self._owner = caller
        if self._owner != caller:
            text = "generate_async was called from a second thread or event loop"
            fake.calls.misuses.append(text)
            if not fake.faults.lose_wakeups:
                raise MisuseError(text)

    def _handle_background_error(self, error: Exception | str | None = None) -> None:
        if isinstance(error, Exception):
            self.shutdown()
            raise error
        if isinstance(error, str):
            raise RequestError(error)
        if not self.errors.empty():
            first = self.errors.get()
            # Rule 2: on the caller's thread, which is the event loop's.
            self.shutdown()
            raise first


def _dispatch(responses: queue.Queue[Any], results: dict[int, GenerationResult]) -> None:
    """Hand responses to their results in batches, and wake each batch on the loop of its first queue (rule 17)."""
    while True:
        batch = [responses.get()]
        while not responses.empty():
            batch.append(responses.get())
        loop: asyncio.AbstractEventLoop | None = None
        waiting: dict[int, AsyncQueue] = {}
        for response in batch:
            result = results.get(response.client_id) if response is not None else None
            if result is None:
                continue
            if response.is_final:
                results.pop(response.client_id, None)
            if result.aqueue is None:
                result.queue.put(response)
                continue
            result.aqueue.put_silently(response)
            loop = loop or result.aqueue.loop
            waiting[id(result.aqueue)] = result.aqueue
        if loop is not None:
            AsyncQueue.notify_many(loop, waiting.values())
        if None in batch:
            return
        # A local must not keep a finished result alive while this thread waits (T41).
        del batch, waiting, loop, response, result
