"""BentoML: Starlette and the model in one process; images come by way of a file."""

from pathlib import Path
from typing import Annotated, Any

import bentoml
from bentoml.validators import ContentType

from .engine import Served

Image = Annotated[Path, ContentType("application/octet-stream")]


@bentoml.service(workers=1, traffic={"timeout": 60}, logging={"access": {"enabled": False}})
class Model:
    """The bundle's model."""

    def __init__(self) -> None:
        self._served = Served()

    @bentoml.api
    def predict(self, image: Image, /) -> dict[str, Any]:
        """One image at a time: batches of single bodies are not what its batching takes."""
        return self._served.answer(image.read_bytes())
