"""The trivial answer: what a network reaches that looks at no input.

For classes it is the most frequent one, for values their mean, for tokens how often each occurs:
`Objective.trivial_logits` knows it from the training rows. The metrics of the network measure it,
too, on the same validation samples. A network that does no better has learned nothing.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping

from .objective import Monitor


def warn_if_trivial(
    metrics: Mapping[str, float], trivial_metrics: Mapping[str, float], monitor: Monitor
) -> None:
    """One line where the network is not better than the trivial answer.

    Args:
        metrics: of the network.
        trivial_metrics: of the trivial answer; empty where nobody knows it.
        monitor: what compares them.
    """
    name = monitor.column
    if name not in metrics or name not in trivial_metrics:
        return
    reached, trivial = metrics[name], trivial_metrics[name]
    if not monitor.is_better(reached, trivial):
        warnings.warn(
            f"{name} is {reached:.6g}, and {trivial:.6g} for the answer that looks at no input: "
            "nothing useful was learned; look at the data, train longer, or with another "
            "learning_rate",
            stacklevel=2,
        )
