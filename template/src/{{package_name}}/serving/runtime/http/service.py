"""Requests through the engine: admitted, decoded, run in batches, answered."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..engine import InferenceEngine, InvalidInput, Item
from ..sessions import RUN_ERRORS
from .batching import Batcher, Found, Prepared, QueueFull, Result, RunFailed
from .errors import RequestError
from .metrics import Metrics
from .openinference import InferRequest, format_response, parse_request
from .settings import Settings

log = logging.getLogger("server")


class Service:
    """The engine and its batcher, for the event loop in which it is made.

    Args:
        engine_class: of this bundle.
        bundle: its folder.
        settings: threads, sizes and limits.
        metrics: told of runs and of items that wait.

    Raises:
        BundleError: the engine cannot be opened, or does not reproduce the stored example.
    """

    def __init__(
        self,
        engine_class: type[InferenceEngine],
        bundle: Path,
        settings: Settings,
        metrics: Metrics,
    ) -> None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
        threads = settings.threads or max(1, cores // settings.workers)
        self.settings = settings
        self.engine = engine_class(
            bundle, settings.format or None, threads, settings.max_item_size or None
        )
        self.engine.verify_example()
        self.metrics = metrics
        self.batcher = Batcher(
            self.engine,
            max(2, cores),
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

    async def predict(self, payloads: Sequence[bytes | InvalidInput]) -> list[dict[str, Any]]:
        """The answer for each payload, in order; one that failed has its error instead.

        Raises:
            RequestError: too many items, or as `_run`.
        """
        if len(payloads) > self.settings.max_items:
            raise RequestError(
                413, "too_many_items", f"{len(payloads)} items; at most {self.settings.max_items}"
            )

        return await self._run(
            len(payloads),
            max((len(payload) for payload in payloads if isinstance(payload, bytes)), default=0),
            lambda: [self._decode(payload) for payload in payloads],
            lambda items, found: list(map(self._answer, items, found)),
        )

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
        return format_response(parsed, logits)

    def _decode(self, payload: bytes | InvalidInput) -> Item | InvalidInput:
        try:
            return self.engine.decode(payload) if isinstance(payload, bytes) else payload
        except InvalidInput as error:
            return error

    def _answer(self, item: Item | InvalidInput, found: Found) -> dict[str, Any]:
        if isinstance(item, InvalidInput) or isinstance(found, InvalidInput):
            return RequestError(400, "malformed_item", str(found)).to_json()
        if isinstance(found, RunFailed):
            _log_failures([found])
            return RequestError(500, "internal", "the network failed on this item").to_json()
        try:
            return self.engine.answer(item, found)
        except RUN_ERRORS:  # going on with a text runs the network again
            log.exception("the network failed on one item")
            return RequestError(500, "internal", "the network failed on this item").to_json()


def _log_failures(found: Sequence[Found]) -> None:
    for error in found:
        if isinstance(error, RunFailed):
            log.error("the network failed on an item", exc_info=error)
