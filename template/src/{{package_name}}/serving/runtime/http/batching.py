"""Dynamic batching: whatever waits is run together, and nothing waits for company by default.

Crossing to a thread and back costs about as much as a small network. So what takes no longer than
that is done on the event loop, all requests of a turn together: each stage finds the caches as the
request before has left them, and no two threads fight over the interpreter. What takes longer
crosses once: the thread that prepared a request's items runs whatever is ready, and where another
one runs already, that one takes them along, while the others prepare what the next run takes.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, TypeAlias, TypeVar

from ..engine import InferenceEngine, InvalidInput, Item
from ..sessions import RUN_ERRORS, Array

Result = TypeVar("Result")

# seconds for one item up to which the event loop does it all; what else it has to do waits, at most
# for that times the items of a run
QUICK_S = 1e-3
# of an item; what a larger one takes is not to be guessed from what small ones took
QUICK_BYTES = 1 << 16
# what is left of the slowest after each that was faster
FORGETTING = 0.9


class QueueFull(Exception):
    """As many items as allowed are waiting already."""


class RunFailed(Exception):
    """The network failed on this very item."""


Prepared: TypeAlias = Sequence[Item | InvalidInput]
Found: TypeAlias = Array | InvalidInput | RunFailed


@dataclass(eq=False)
class _Job:
    """A request on its way.

    Attributes:
        size, weight, prepare, finish: as `Batcher.run` takes them.
        answer: what its caller awaits.
        items: what was prepared.
        found: logits of each item; an item that failed has its error instead.
        missing: how many items have not been run yet.
        has_run: whether all that is left is to finish it.
    """

    size: int
    weight: int
    prepare: Callable[[], Prepared]
    finish: Callable[[Prepared, Sequence[Found]], Any]
    answer: asyncio.Future[Any]
    items: Prepared = ()
    found: list[Any] = field(default_factory=list)
    missing: int = 0
    has_run: bool = False


@dataclass(frozen=True)
class _Waiting:
    """One item of a job."""

    job: _Job
    number: int

    @property
    def item(self) -> Item:
        item = self.job.items[self.number]
        assert not isinstance(item, InvalidInput)
        return item


@dataclass
class _Slowest:
    """How long one item takes at worst, of those of late, in seconds."""

    seconds: float = QUICK_S  # nothing is quick until it was measured

    def note(self, seconds: float) -> None:
        self.seconds = max(seconds, FORGETTING * self.seconds)


class Batcher:
    """Runs items of all requests through the engine, in batches, one run at a time.

    It belongs to the event loop in which it is made.

    Args:
        engine: runs them.
        threads: prepare items, run batches and finish answers where that takes long.
        batch_size: most items in one run.
        delay_s: how long a run waits for more items than there are; it costs a lone caller that
            much, and under load the queue fills without it.
        queue_size: most items that wait or run at a time, over all requests.
        on_run: told how many items a run had and how long it took, in seconds.
    """

    def __init__(
        self,
        engine: InferenceEngine,
        threads: int,
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
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.current_thread()
        self._arrived: list[_Job] = []
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._ready: deque[_Waiting] = deque()
        self._running = threading.Lock()
        self._run_s = 0.0
        self._preparing, self._forwarding, self._finishing = (_Slowest() for _ in range(3))
        self.admitted = 0
        self.is_broken = False
        self._threads = [
            # as daemons: a server that is told twice to stop does not wait for a run
            threading.Thread(target=self._work, name=f"batcher-{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Let the threads end after what they have."""
        for _ in self._threads:
            self._jobs.put(None)

    async def run(
        self,
        size: int,
        weight: int,
        prepare: Callable[[], Prepared],
        finish: Callable[[Prepared, Sequence[Found]], Result],
    ) -> Result:
        """Prepare a request's items, run them with those of others, and finish its answer.

        Args:
            size: how many items it has.
            weight: bytes of the largest that is to be prepared.
            prepare: makes the items; an item that cannot be has its error instead.
            finish: gets the items, and for each its logits or what was wrong with it. Both may be
                called on a thread.

        Raises:
            QueueFull: there is no room for its items.
        """
        if self.admitted + size > self._queue_size:
            raise QueueFull
        self.admitted += size
        try:
            job = _Job(size, weight, prepare, finish, self._loop.create_future())
            if not self._arrived:
                self._loop.call_soon(self._dispatch)
            self._arrived.append(job)
            answer: Result = await job.answer
            return answer
        finally:
            self.admitted -= size

    def _dispatch(self, before: int = 0) -> None:
        """Do what came together, or give it to the threads."""
        size = self._batch_size
        if before < len(self._arrived) < size:  # more may be on their way through this turn
            self._loop.call_soon(self._dispatch, len(self._arrived))
            return
        jobs, self._arrived = self._arrived[:size], self._arrived[size:]
        if self._arrived:  # others have their turn before
            self._loop.call_soon(self._dispatch)
        if self._is_quick and all(job.size <= size and job.weight <= QUICK_BYTES for job in jobs):
            for job in jobs:
                self._prepare(job)
            self._run_ready()
        else:
            for job in jobs:
                self._jobs.put(job)

    @property
    def _is_quick(self) -> bool:
        stages = (self._preparing, self._forwarding, self._finishing)
        takes_long = self._delay_s > 0 or self._engine.answers_run_again
        return not takes_long and sum(stage.seconds for stage in stages) <= QUICK_S

    # --- on threads, or on the event loop where it is quick --------------------------------------

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            if job.has_run:
                self._finish([job])
                continue
            self._prepare(job)
            self._prepare_more()
            self._run_ready()

    def _run_ready(self) -> None:
        # who comes while another runs has put his items there first, and that one looks again
        while self._ready and self._running.acquire(blocking=False):
            try:
                done = self._run_batch()
            finally:
                self._running.release()
            if self._engine.answers_run_again:
                for one in done:  # each may take long: on whatever thread is free
                    self._jobs.put(one)
            else:
                self._finish(done)
            self._prepare_more()

    def _prepare_more(self) -> None:
        """Prepare what else waits, for as long as a run takes at most.

        Many items in a row, then a run of all of them, take less time than one by one: each is done
        with what the caches hold. Items that take long to prepare do not wait for each other.
        """
        until = time.perf_counter() + self._run_s
        while len(self._ready) < self._batch_size and time.perf_counter() < until:
            try:
                job = self._jobs.get_nowait()
            except Empty:
                return
            if job is None or job.has_run:
                self._jobs.put(job)
                return
            self._prepare(job)

    def _prepare(self, job: _Job) -> None:
        if job.answer.cancelled():
            return
        started = time.thread_time()
        try:
            job.items = job.prepare()
        except Exception as error:  # a bug: whoever waits hears of it, as from any executor
            self._deliver([(job, error)])
            return
        self._preparing.note((time.thread_time() - started) / max(1, job.size))
        job.found = list(job.items)
        waiting = [
            _Waiting(job, number)
            for number, item in enumerate(job.items)
            if not isinstance(item, InvalidInput)
        ]
        job.missing = len(waiting)
        if waiting:
            self._ready.extend(waiting)
        else:
            self._finish([job])

    def _run_batch(self) -> list[_Job]:
        """Run the next batch; the jobs that now have all they need."""
        batch = self._next_batch()
        if not batch:
            return []
        started = time.perf_counter()
        try:
            answers = self._forward(batch)
        except BaseException as error:
            self.is_broken = True
            self._deliver([(waiting.job, error) for waiting in batch])
            raise
        self._run_s = time.perf_counter() - started
        self._forwarding.note(self._run_s / len(batch))
        self._on_run(len(batch), self._run_s)
        done = []
        for waiting, answer in zip(batch, answers, strict=True):
            job = waiting.job
            job.found[waiting.number] = answer
            job.missing -= 1
            if not job.missing:
                job.has_run = True
                done.append(job)
        return done

    def _next_batch(self) -> list[_Waiting]:
        if self._delay_s:
            time.sleep(self._delay_s)
        batch: list[_Waiting] = []
        while self._ready and len(batch) < self._batch_size:
            waiting = self._ready.popleft()
            if not waiting.job.answer.cancelled():
                batch.append(waiting)
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

    def _finish(self, jobs: Sequence[_Job]) -> None:
        answers: list[tuple[_Job, Any]] = []
        started, size = time.thread_time(), 0
        for job in jobs:
            size += job.size
            try:
                answers.append((job, job.finish(job.items, job.found)))
            except Exception as error:  # as in _prepare
                answers.append((job, error))
        self._finishing.note((time.thread_time() - started) / max(1, size))
        self._deliver(answers)

    def _deliver(self, answers: Sequence[tuple[_Job, Any]]) -> None:
        """Wake the event loop once for all of them."""
        if threading.current_thread() is self._loop_thread:
            _answer(answers)
        elif answers and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_answer, answers)


def _answer(answers: Sequence[tuple[_Job, Any]]) -> None:
    for job, answer in answers:
        if job.answer.done():  # time was up
            continue
        if isinstance(answer, BaseException):
            job.answer.set_exception(answer)
        else:
            job.answer.set_result(answer)
