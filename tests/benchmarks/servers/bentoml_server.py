"""BentoML: Starlette and the model in one process; images come by way of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import bentoml
from bentoml.validators import ContentType
from engine import BATCH, WAIT_MS, Served

Image = Annotated[Path, ContentType("application/octet-stream")]


@bentoml.service(workers=1, traffic={"timeout": 60}, logging={"access": {"enabled": False}})
class Model:
    """The bundle's model."""

    def __init__(self) -> None:
        self._served = Served()

    if BATCH == 1:

        @bentoml.api
        def predict(self, image: Image, /) -> dict[str, Any]:
            """One image at a time."""
            return self._served.answer(image.read_bytes())

    else:

        @bentoml.api(batchable=True, max_batch_size=BATCH, max_latency_ms=60_000)
        def predict(self, images: list[Image], /) -> list[dict[str, Any]]:
            """What waits, in one run."""
            return self._served.answer_all([image.read_bytes() for image in images])
