"""Dynamic batching: whatever waits is run together, and nothing waits for company by default."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from ..engine import InferenceEngine, Item
from ..sessions import RUN_ERRORS, Array


class QueueFull(Exception):
    """As many items as allowed are waiting already."""


class RunFailed(Exception):
    """The network failed on this very item."""


@dataclass(frozen=True)
class _Waiting:
    item: Item
    answer: asyncio.Future[Array]


class Batcher:
    """Runs items of all requests through the engine, in batches, on one thread.

    Args:
        engine: runs them.
        batch_size: most items in one run.
        delay_s: how long a run waits for more items than there are; it costs a lone caller that
            much, and under load the queue fills without it.
        queue_size: most items that wait or run at a time, over all requests.
        on_run: told how many items a run had and how long it took, in seconds.
    """

    def __init__(
        self,
        engine: InferenceEngine,
        batch_size: int,
        delay_s: float,
        queue_size: int,
        on_run: Callable[[int, float], None],
    ) -> None:
        self._engine = engine
        self._batch_size = batch_size
        self._delay_s = delay_s
        self._queue_size = queue_size
        self._on_run = on_run
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1, "inference")
        self.admitted = 0

    @contextmanager
    def admit(self, items: int) -> Iterator[None]:
        """Reserve room for a request's items, before work is spent on decoding them.

        Raises:
            QueueFull: there is none.
        """
        if self.admitted + items > self._queue_size:
            raise QueueFull
        self.admitted += items
        try:
            yield
        finally:
            self.admitted -= items

    async def logits(self, item: Item) -> Array:
        """Logits of one item.

        Raises:
            RunFailed: the network failed on it.
        """
        answer: asyncio.Future[Array] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait(_Waiting(item, answer))
        return await answer

    async def run(self) -> None:
        """Serve until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                batch = [w for w in await self._next_batch() if not w.answer.cancelled()]
                if not batch:
                    continue
                started = time.perf_counter()
                answers = await loop.run_in_executor(self._thread, self._forward, batch)
                self._on_run(len(batch), time.perf_counter() - started)
                for waiting, answer in zip(batch, answers, strict=True):
                    if waiting.answer.cancelled():
                        continue
                    if isinstance(answer, RunFailed):
                        waiting.answer.set_exception(answer)
                    else:
                        waiting.answer.set_result(answer)
        finally:
            self._thread.shutdown(wait=False)

    async def _next_batch(self) -> list[_Waiting]:
        batch = [await self._queue.get()]
        if self._delay_s:
            await asyncio.sleep(self._delay_s)
        while len(batch) < self._batch_size and not self._queue.empty():
            batch.append(self._queue.get_nowait())
        return batch

    def _forward(self, batch: Sequence[_Waiting]) -> Sequence[Array | RunFailed]:
        try:
            return self._engine.logits([waiting.item for waiting in batch])
        except RUN_ERRORS as error:
            if len(batch) == 1:
                failure = RunFailed(str(error))
                failure.__cause__ = error
                return [failure]
        # one item spoils the batch: run each alone, so that only its own request fails
        return [answer for waiting in batch for answer in self._forward([waiting])]
