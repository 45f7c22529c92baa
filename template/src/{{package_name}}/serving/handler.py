"""TorchServe's way to this bundle. A bad request fails alone, not with its batch."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any


class Handler:
    """Loads the engine that inference.py defines; TorchServe calls the two methods."""

    def initialize(self, context: Any) -> None:
        """Load the model from the unpacked archive.

        Raises:
            BundleError: changed or missing files, a device that is not there, or the stored example
                is not reproduced.
        """
        folder = Path(context.system_properties["model_dir"])
        # before anything of the bundle is imported, and whatever lies there with a library's name
        runpy.run_path(str(folder / "runtime" / "integrity.py"))["verify_code"](folder)
        sys.path.insert(0, str(folder))
        from inference import Engine
        from runtime import verify_files

        verify_files(folder, only_model=True)
        settings = (context.model_yaml_config or {}).get("bundle", {})
        self.engine = Engine(
            folder,
            settings.get("format"),
            settings.get("threads"),
            device=settings.get("device", "auto"),
        )
        self.engine.verify_example()

    def handle(self, rows: list[dict[str, Any]], context: Any) -> list[dict[str, Any]]:
        """Answer each row of a batch."""
        from runtime import InvalidInput

        items: list[Any] = []
        answers: list[dict[str, Any]] = []
        for position, row in enumerate(rows):
            try:
                items.append(self.engine.decode(self._payload(row)))
                answers.append({})
            except InvalidInput as error:
                context.set_response_status(400, "Bad Request", position)
                answers.append({"error": str(error), "code": "malformed_item", "status": 400})
            context.set_response_content_type(position, "application/json")
        pairs = iter(zip(items, self.engine.logits(items) if items else [], strict=True))
        for position, answer in enumerate(answers):
            if not answer:
                answers[position] = self._answer(*next(pairs), context, position)
        return answers

    def _answer(self, item: Any, logits: Any, context: Any, position: int) -> dict[str, Any]:
        from runtime import NotFinite

        try:
            answer: dict[str, Any] = self.engine.answer(item, logits)
        except NotFinite as error:
            context.set_response_status(500, "Internal Server Error", position)
            return {"error": str(error), "code": "not_finite", "status": 500}
        return answer

    def _payload(self, row: dict[str, Any]) -> bytes:
        value = row.get("data", row.get("body"))
        if isinstance(value, dict):  # TorchServe has read application/json itself
            payload: bytes = self.engine.from_json(value)
            return payload
        return value.encode() if isinstance(value, str) else bytes(value or b"")
