"""mosec: a front end in Rust, and one worker process behind it."""

from __future__ import annotations

import os
from typing import Any

import mosec  # type: ignore[import-not-found, unused-ignore]
from engine import BATCH, PORT, WAIT_MS, Served

os.environ |= {"MOSEC_PORT": str(PORT), "MOSEC_ADDRESS": "127.0.0.1"}


class Single(mosec.Worker):
    """One image at a time."""

    def __init__(self) -> None:
        self._served = Served()

    def deserialize(self, data: bytes) -> bytes:
        """The image as it came, though mosec hands over a bytearray."""
        return bytes(data)

    def forward(self, data: bytes) -> dict[str, Any]:
        """Its answer."""
        return self._served.answer(data)


class Batched(Single):
    """What waits, in one run."""

    def forward(self, data: list[bytes]) -> list[dict[str, Any]]:
        """Their answers."""
        return self._served.answer_all(data)


if __name__ == "__main__":
    server = mosec.Server()
    if BATCH == 1:
        server.append_worker(Single)
    else:
        server.append_worker(Batched, max_batch_size=BATCH, max_wait_time=WAIT_MS)
    server.run()
