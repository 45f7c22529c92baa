"""LitServe: FastAPI in one process, the model in another."""

from typing import Annotated, Any

import litserve
from fastapi import Body

from .engine import BATCH, PORT, WAIT_MS, Served

# LitServe looks at this annotation itself, so it is no text here
Image = Annotated[bytes, Body(media_type="application/octet-stream")]


class Model(litserve.LitAPI):
    """The bundle's model."""

    def setup(self, device: Any) -> None:
        """Open it."""
        self._served = Served()

    def decode_request(self, request: Image, **_: Any) -> bytes:
        """The image as it came."""
        return request

    def batch(self, inputs: list[Any]) -> list[Any]:
        """Images of any size."""
        return inputs

    def predict(self, x: Any, **_: Any) -> Any:
        """Answers to what waits, or to one image where there are no batches."""
        return self._served.answer(x) if BATCH == 1 else self._served.answer_all(x)

    def unbatch(self, output: Any) -> Any:
        """They are apart already."""
        return output


if __name__ == "__main__":
    batches: dict[str, Any] = (
        {} if BATCH == 1 else {"max_batch_size": BATCH, "batch_timeout": WAIT_MS / 1000}
    )
    server = litserve.LitServer(Model(**batches), accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1",
        port=PORT,
        log_level="warning",
        generate_client_file=False,
        access_log=False,
    )
