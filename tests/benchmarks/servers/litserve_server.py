"""LitServe: FastAPI in one process, the model in another."""

from __future__ import annotations

from typing import Annotated, Any

import litserve
from engine import BATCH, PORT, WAIT_MS, Served
from fastapi import Body

Image = Annotated[bytes, Body(media_type="application/octet-stream")]


class Single(litserve.LitAPI):
    """One image at a time."""

    def setup(self, device: str) -> None:
        """Open the model."""
        self._served = Served()

    # LitServe looks at the annotation itself
    def decode_request(self, request: Image) -> bytes:  # type: ignore[override, unused-ignore]
        """The image as it came."""
        return request

    def predict(self, x: bytes) -> dict[str, Any]:
        """Its answer."""
        return self._served.answer(x)


class Batched(Single):
    """What waits, in one run."""

    def batch(self, inputs: list[bytes]) -> list[bytes]:
        """Images of any size."""
        return inputs

    def predict(self, x: list[bytes]) -> list[dict[str, Any]]:  # type: ignore[override]
        """Their answers."""
        return self._served.answer_all(x)

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """They are apart already."""
        return output


Single.decode_request.__annotations__["request"] = Image

if __name__ == "__main__":
    api = (
        Single() if BATCH == 1 else Batched(max_batch_size=BATCH, batch_timeout=WAIT_MS / 1000)
    )
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1", port=PORT, log_level="warning", generate_client_file=False,
        access_log=False,
    )
