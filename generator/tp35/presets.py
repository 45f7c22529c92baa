"""Presets: named rows of answers for `tp35 new --preset`."""

from __future__ import annotations

from dataclasses import dataclass

from tp35.problems import Misuse, nearest
from tp35.questions import Answers


@dataclass(frozen=True)
class Preset:
    """Answers that belong together; every other question keeps its default."""

    summary: str
    answers: Answers


PRESETS = {
    "vision-tiny": Preset(
        "sorts small images into classes",
        {"modality": "vision", "task": "vision_classification"},
    ),
    "vision-multilabel": Preset(
        "finds all labels of an image",
        {"modality": "vision", "task": "vision_multilabel"},
    ),
    "vision-regression": Preset(
        "predicts a number from an image",
        {"modality": "vision", "task": "vision_regression"},
    ),
    "vision-production": Preset(
        "images at length: measured compilation, larger steps, three formats, TensorBoard",
        {
            "modality": "vision",
            "task": "vision_classification",
            "compile_mode": "auto",
            "gradient_accumulation_steps": 4,
            "export_formats": ["onnx", "torchscript", "pt2"],
            "trackers": ["tensorboard"],
        },
    ),
    "lm-tiny": Preset(
        "continues a text, token by token",
        {"modality": "text", "task": "lm"},
    ),
    "mlm-tiny": Preset(
        "fills masked tokens of a text",
        {"modality": "text", "task": "masked_lm"},
    ),
    "cls-tiny": Preset(
        "sorts texts into classes",
        {"modality": "text", "task": "text_classification"},
    ),
    "text-production": Preset(
        "texts at length: measured compilation, larger steps, three formats, TensorBoard",
        {
            "modality": "text",
            "task": "text_classification",
            "compile_mode": "auto",
            "gradient_accumulation_steps": 4,
            "export_formats": ["onnx", "torchscript", "pt2"],
            "trackers": ["tensorboard"],
        },
    ),
}


def preset(name: str) -> Preset:
    """The preset of that name."""
    if name not in PRESETS:
        raise Misuse(f"there is no preset {name!r}; {nearest(name, PRESETS)}")
    return PRESETS[name]
