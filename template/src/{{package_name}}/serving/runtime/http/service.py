"""Requests through the engine: admitted, decoded, run in batches, answered."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from typing import Any

from ..cores import available_cores
from ..engine import InferenceEngine, InvalidInput, Item
from ..predictions import NotFinite
from ..sessions import RUN_ERRORS
from .batching import Batcher, Found, Prepared, QueueFull, Result, RunFailed
from .errors import RequestError
from .metrics import Metrics
from .openinference import InferRequest, format_response, parse_request
from .payloads import Inputs
from .settings import Settings

log = logging.getLogger("server")
COUNTED_S = 10.0
FAILED = RequestError(500, "internal", "the network failed on this item")


class Service:
    """The engine and its batcher, for the event loop in which it is made.

    Args:
        engine: runs the items.
        settings: threads, sizes and limits.
        metrics: told of runs and of items that wait.
    """

    def __init__(self, engine: InferenceEngine, settings: Settings, metrics: Metrics) -> None:
        self.settings = settings
        self.engine = engine
        self.metrics = metrics
        self.truncated = Counted("inputs of which the network saw a part; their answers say so")
        self.batcher = Batcher(
            self.engine,
            max(2, available_cores()),
            settings.batch_size,
            settings.batch_delay_ms / 1000,
            settings.queue_size,
            metrics.observe_run,
        )

    async def _run(
        self,
        size: int,
        weight: int,
        prepare: Callable[[], Prepared],
        finish: Callable[[Prepared, Sequence[Found]], Result],
    ) -> Result:
        """`Batcher.run` within what a request may take.

        Raises:
            RequestError: the queue is full, or time is up.
        """
        waiting = self.metrics.waiting
        waiting.inc(size)
        try:
            async with asyncio.timeout(self.settings.timeout_s):
                return await self.batcher.run(size, weight, prepare, finish)
        except QueueFull:
            raise RequestError(
                429, "queue_full", "the queue is full; try again", {"Retry-After": "1"}
            ) from None
        except TimeoutError:
            limit = f"{self.settings.timeout_s:g} s"
            raise RequestError(504, "timeout", f"no answer within {limit}") from None
        finally:
            waiting.dec(size)

    async def predict(self, inputs: Inputs) -> list[dict[str, Any]]:
        """The answer for each item, in order; one that failed has its error instead.

        Raises:
            RequestError: too many items, or as `_run`.
        """
        self._check_size(inputs)
        answers = await self._run(
            len(inputs.payloads),
            _weight(inputs),
            lambda: list(self.engine.decode_each(inputs.payloads)),
            lambda items, found: [
                self._answer(item, one, inputs.parameters)
                for item, one in zip(items, found, strict=True)
            ],
        )
        for answer, name in zip(answers, inputs.names, strict=False):
            if name is not None:
                answer["input"] = name
        self._note_truncated(answers)
        return answers

    async def stream(
        self, inputs: Inputs, is_gone: Callable[[], bool]
    ) -> AsyncGenerator[dict[str, Any]]:
        """The answer of one item as it grows: `{"piece": ...}` each, and last what `predict` gives.

        Args:
            inputs: of one item.
            is_gone: whether anybody still waits for it.

        Raises:
            RequestError: not one item, or as `_run`; before the first piece alone, later ones have
                the error as the last.
        """
        if len(inputs.payloads) != 1:
            raise RequestError(422, "wrong_form", "only the answer of one item is streamed")
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

        def tell(piece: dict[str, Any] | None) -> None:
            loop.call_soon_threadsafe(pieces.put_nowait, piece)

        def prepare() -> Prepared:
            return list(self.engine.decode_each(inputs.payloads))

        def finish(items: Prepared, found: Sequence[Found]) -> None:
            for piece in self._answer_in_pieces(items[0], found[0], inputs.parameters):
                if is_gone() or run.done():  # nobody waits, or time is up
                    break
                tell(piece)

        run = asyncio.ensure_future(self._run(1, _weight(inputs), prepare, finish))
        run.add_done_callback(lambda _: pieces.put_nowait(None))
        try:
            while (piece := await pieces.get()) is not None:
                if "piece" not in piece:
                    self._note_truncated([piece])
                yield piece
            await run
        finally:
            run.cancel()
            await asyncio.gather(run, return_exceptions=True)

    def _check_size(self, inputs: Inputs) -> None:
        size = len(inputs.payloads)
        if size > self.settings.max_items:
            raise RequestError(
                413, "too_many_items", f"{size} items; at most {self.settings.max_items}"
            )

    def _note_truncated(self, answers: Sequence[Mapping[str, Any]]) -> None:
        if cut := sum("truncated" in answer for answer in answers):
            self.metrics.truncated.inc(cut)
            self.truncated.note(cut)

    async def infer(self, body: bytes, header_length: str | None) -> tuple[bytes, dict[str, str]]:
        """Answer a request of the Open Inference Protocol.

        Args:
            body: the request's.
            header_length: value of the protocol's header, if it was sent.

        Returns:
            body and headers of the answer.

        Raises:
            RequestError: malformed tensors, a network that fails on them, or as `_run`.
        """
        try:
            parsed = await asyncio.to_thread(self._parse, body, header_length)
        except InvalidInput as error:
            raise RequestError(400, "malformed_request", str(error)) from None
        return await self._run(
            len(parsed.items),
            0,
            lambda: parsed.items,
            lambda _, found: self._format(parsed, found),
        )

    def _parse(self, body: bytes, header_length: str | None) -> InferRequest:
        parsed = parse_request(body, header_length, self.engine.metadata, self.settings.max_items)
        for item in parsed.items:
            self.engine.check(item)
        return parsed

    def _format(self, parsed: InferRequest, found: Sequence[Found]) -> tuple[bytes, dict[str, str]]:
        logits = [row for row in found if not isinstance(row, (InvalidInput, RunFailed))]
        if len(logits) < len(found):
            _log_failures(found)
            raise RequestError(500, "internal", "the network failed on this request")
        try:
            return format_response(parsed, logits, self.engine.metadata["class_names"])
        except NotFinite as error:
            raise RequestError(
                500, "not_finite", f"{error}; binary_data can hold that, JSON cannot"
            ) from None

    def _answer(self, item: Item | InvalidInput, found: Found, parameters: Any) -> dict[str, Any]:
        *_, answer = self._answer_in_pieces(item, found, parameters, in_pieces=False)
        return answer

    def _answer_in_pieces(
        self, item: Item | InvalidInput, found: Found, parameters: Any, *, in_pieces: bool = True
    ) -> Iterator[dict[str, Any]]:
        """What the engine answers; where something fails, the error is the last."""
        if isinstance(item, InvalidInput) or isinstance(found, InvalidInput):
            yield RequestError(400, "malformed_item", str(found)).to_json()
            return
        if isinstance(found, RunFailed):
            _log_failures([found])
            yield FAILED.to_json()
            return
        try:
            if in_pieces:
                yield from self.engine.answer_in_pieces(item, found, parameters)
            else:
                yield self.engine.answer(item, found, parameters)
        except NotFinite as error:
            yield RequestError(500, "not_finite", str(error)).to_json()
        except RUN_ERRORS:  # going on with a text runs the network again
            log.exception("the network failed on one item")
            yield FAILED.to_json()


def _weight(inputs: Inputs) -> int:
    """Bytes of the largest item."""
    return max((len(one) for one in inputs.payloads if isinstance(one, bytes)), default=0)


class Counted:
    """What would fill a log if each had a line: one says how many there were within a while.

    Args:
        what: behind the number.
    """

    def __init__(self, what: str) -> None:
        self._what, self._count = what, 0

    def note(self, count: int) -> None:
        """So many more; the line follows within COUNTED_S."""
        if not self._count:
            asyncio.get_running_loop().call_later(COUNTED_S, self._write)
        self._count += count

    def _write(self) -> None:
        log.warning("%d %s", self._count, self._what)
        self._count = 0


def _log_failures(found: Sequence[Found]) -> None:
    for error in found:
        if isinstance(error, RunFailed):
            log.error("the network failed on an item", exc_info=error)
