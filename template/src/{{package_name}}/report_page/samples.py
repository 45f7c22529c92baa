"""Single samples: how they look, the worst and the best of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from ..errors import DataError
from ..evaluation import Evaluation, Measured
from .elements import Html, View, escaped, heading, joined, paragraph, percent, picture, player
from .page import Section
from .views import view

# bytes of pictures and sounds within a page, as text
PICTURE_BYTES = 700_000

LISTED = 12


class Gallery:
    """Views of samples, with pictures and sounds as long as there is room for them in a page.

    Args:
        measured: what was evaluated; its settings say how its samples are read.
        evaluation: the samples.
        room: bytes for all pictures and sounds.
    """

    def __init__(
        self, measured: Measured, evaluation: Evaluation, room: int = PICTURE_BYTES
    ) -> None:
        self._measured, self._rows, self._room = measured, evaluation.rows, room
        self._views: dict[int, View] = {}

    def view(self, number: int) -> View:
        """A sample by its number; nothing of it where there is no room for a picture."""
        if number not in self._views:
            self._views[number] = self._look(number)
        return self._views[number]

    def has_room(self) -> bool:
        """Whether another picture may fit."""
        return self._room > 0

    def _look(self, number: int) -> View:
        if not self.has_room():
            return View()
        try:
            seen = view(self._measured, self._rows, number)
        except DataError:  # its file is gone since
            return View()
        self._room -= seen.size
        return seen


def section(
    evaluation: Evaluation, gallery: Gallery, describe: Callable[[int], Sequence[Html]]
) -> Section:
    """The samples that the network does worst and best on, by their loss.

    Args:
        evaluation: the samples.
        gallery: how they look.
        describe: lines about a sample, by its number.
    """
    losses = evaluation.losses
    order = np.argsort(losses, kind="stable")
    order = order[np.isfinite(losses[order])]
    worst, best = order[::-1][:LISTED].tolist(), order[:LISTED].tolist()
    count = f"{len(worst)} of {len(losses):,} samples"
    return Section(
        "Samples",
        joined(
            [
                heading("Worst"),
                paragraph(f"{count}, those with the largest loss first.", "quiet"),
                listed(worst, evaluation, gallery, describe),
                heading("Best"),
                paragraph(f"{count}, those with the smallest loss first.", "quiet"),
                listed(best, evaluation, gallery, describe),
            ]
        ),
    )


def listed(
    numbers: Iterable[int],
    evaluation: Evaluation,
    gallery: Gallery,
    describe: Callable[[int], Sequence[Html]],
) -> Html:
    """Samples with how they look, where they lie, and lines about each."""
    cards = [
        card(gallery.view(number), evaluation.places[number], describe(number))
        for number in numbers
    ]
    return Html(f'<ul class="samples">\n{joined(cards)}\n</ul>')


def card(seen: View, place: str, lines: Sequence[Html]) -> Html:
    """One sample of a list."""
    image = picture(seen.picture, "") if seen.picture else ""
    sound = player(seen.sound, place) if seen.sound else ""
    excerpt = paragraph(seen.excerpt, "excerpt") if seen.excerpt else ""
    kind = "body" if image else "body no-picture"
    return Html(
        f'<li>{image}{sound}<div class="{kind}">{paragraph(place, "file")}'
        f"{joined(Html(f'<p>{line}</p>') for line in lines)}{excerpt}</div></li>"
    )


def answer(name: str, probability: float, is_right: bool) -> Html:
    """An answer and how sure it is, marked where it is wrong."""
    said = f"{escaped(name)} ({percent(probability)})"
    return Html(said if is_right else f'<span class="wrong">{said}</span>')
