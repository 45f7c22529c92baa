"""What metrics are called, wherever they are measured and shown."""

from __future__ import annotations

from collections.abc import Sequence

# stands before those of the validation samples, in metrics.csv and in checkpoints
VALIDATION = "val/"

LOSS, BALANCED_LOSS = "loss", "balanced_loss"

# behind each stands `/<name>`; MLflow keeps names as paths, and `f1` cannot be a folder, too
CLASS_FIGURES = ("recall", "precision", "class_f1")


def is_of_class(name: str) -> bool:
    """Whether a metric, by its name in metrics.csv, is of one class only."""
    return any(name.startswith(f"{VALIDATION}{figure}/") for figure in CLASS_FIGURES)


def error_name(kind: str, name: str, names: Sequence[str]) -> str:
    """Several values have units of their own: there is no error of all together.

    Args:
        kind: `mae` or `rmse`.
        name: of the value.
        names: of all values.
    """
    return f"{kind}/{name}" if len(names) > 1 else kind
