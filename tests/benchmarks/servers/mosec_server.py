"""mosec: a front end in Rust, and one worker process behind it."""

from __future__ import annotations

import os
from typing import Any

import mosec

from .engine import BATCH, PORT, WAIT_MS, Served

os.environ |= {"MOSEC_PORT": str(PORT), "MOSEC_ADDRESS": "127.0.0.1"}


class Model(mosec.Worker):
    """The bundle's model."""

    def __init__(self) -> None:
        self._served = Served()

    def deserialize(self, data: bytes) -> bytes:
        """The image as it came, though mosec hands over a bytearray."""
        return bytes(data)

    def forward(self, data: Any) -> Any:
        """Answers to what waits, or to one image where there are no batches."""
        return self._served.answer(data) if BATCH == 1 else self._served.answer_all(data)


if __name__ == "__main__":
    server: Any = mosec.Server()
    batches = {} if BATCH == 1 else {"max_batch_size": BATCH, "max_wait_time": WAIT_MS}
    server.append_worker(Model, **batches)
    server.run()
