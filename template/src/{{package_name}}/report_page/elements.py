"""Pieces of HTML. Whatever comes from outside is escaped here, and nowhere else."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self, TypeAlias

from ..training.summary import shown


class Html(str):
    """Markup that is safe to put into a page as it is."""

    __slots__ = ()


# characters of a cell that is read in several lines
LONG = 60


@dataclass(frozen=True)
class View:
    """How a sample is shown to people.

    Attributes:
        picture: a `data:` address; empty where there is none.
        excerpt: of its text; empty where it is none.
        sound: a `data:` address of what can be heard; empty where nothing can.
    """

    picture: str = ""
    excerpt: str = ""
    sound: str = ""

    @property
    def size(self) -> int:
        """Characters that it takes in a page."""
        return len(self.picture) + len(self.excerpt) + len(self.sound)


class Share(float):
    """A number that people read as a percentage."""

    __slots__ = ()


class Ranged(float):
    """A number that people read with its interval.

    Attributes:
        low, high: ends of the interval.
    """

    __slots__ = ("high", "low")

    low: float
    high: float

    def __new__(cls, value: float, low: float, high: float) -> Self:
        """The number between its ends."""
        made = super().__new__(cls, value)
        made.low, made.high = low, high
        return made


Cell: TypeAlias = str | Html | float | int | None


def escaped(text: object) -> Html:
    """A text as it shall be read, whatever is in it: a file's name may be no valid Unicode."""
    if isinstance(text, Html):
        return text
    return Html(html.escape(readable(str(text))))


def readable(text: str) -> str:
    r"""The text with `\udcff` where it holds half a character, which UTF-8 cannot write."""
    return text.encode("utf-8", "backslashreplace").decode()


def joined(parts: Iterable[Html]) -> Html:
    """One after the other."""
    return Html("\n".join(parts))


def paragraph(text: object, kind: str = "") -> Html:
    """A paragraph of a class of the style sheet, or of none."""
    return Html(f"<p{_class(kind)}>{escaped(text)}</p>")


def heading(text: object) -> Html:
    """The heading of a part of a section."""
    return Html(f"<h3>{escaped(text)}</h3>")


def items(texts: Iterable[object]) -> Html:
    """A list."""
    return Html("<ul>" + "".join(f"<li>{escaped(text)}</li>" for text in texts) + "</ul>")


def details(summary: object, content: Html) -> Html:
    """What is folded until somebody asks for it."""
    return Html(f"<details><summary>{escaped(summary)}</summary>\n{content}\n</details>")


def picture(address: str, says: str) -> Html:
    """A picture.

    Args:
        address: a `data:` address.
        says: what stands for it where it is not seen; empty where the text beside it does.
    """
    return Html(f'<img src="{escaped(address)}" alt="{escaped(says)}">')


def player(address: str, says: str) -> Html:
    """A sound that can be played.

    Args:
        address: a `data:` address.
        says: what it is.
    """
    return Html(
        f'<audio controls preload="none" src="{escaped(address)}" aria-label="{escaped(says)}">'
        "</audio>"
    )


def table(
    header: Sequence[object],
    rows: Iterable[Sequence[Cell]],
    caption: str,
    *,
    sortable: bool = False,
    kind: str = "",
) -> Html:
    """A table whose first column names its rows; numbers stand at the right.

    Args:
        header: of each column.
        rows: with a cell for each column; a number is shown by `number`, None as a dash.
        caption: what the table is, for those who do not see where it stands.
        sortable: whether its headers sort it.
        kind: class of the style sheet.
    """
    listed = list(rows)
    is_number = [
        bool(column) and all(isinstance(cell, float | int | None) for cell in column)
        for column in (zip(*listed, strict=True) if listed else ())
    ] or [False] * len(header)
    cells = "".join(
        _header(text, right, sortable) for text, right in zip(header, is_number, strict=True)
    )
    lines = "\n".join(
        "<tr>"
        + "".join(_cell(cell, place == 0, is_number[place]) for place, cell in enumerate(row))
        + "</tr>"
        for row in listed
    )
    return scrolling(
        Html(
            f"<table{_class(kind)}>{captioned(caption)}\n"
            f"<thead><tr>{cells}</tr></thead>\n<tbody>\n{lines}\n</tbody></table>"
        ),
        caption,
    )


def captioned(text: str) -> Html:
    """The caption of a table, which stays in view where the table is wider than the page."""
    return Html(f"<caption><span>{escaped(text)}</span></caption>")


def scrolling(content: Html, says: str) -> Html:
    """What may be wider than the page, and then scrolls by itself; the keyboard reaches it."""
    return Html(
        f'<div class="wide" role="region" tabindex="0" aria-label="{escaped(says)}">\n'
        f"{content}\n</div>"
    )


def number(value: float | None) -> str:
    """A number of any size in few characters; counts are whole, and what is no number is a dash."""
    if value is None or math.isnan(value):
        return "–"
    if isinstance(value, Share):
        return percent(value)
    if isinstance(value, Ranged):
        return f"{shown(value)} ({shown(value.low)} to {shown(value.high)})"
    return f"{value:,}" if isinstance(value, int) else shown(value)


def percent(share: float) -> str:
    """A share, to a tenth of a percent."""
    return f"{share:.1%}"


def _header(text: object, right: bool, sortable: bool) -> str:
    side = ' class="number"' if right else ""
    if not sortable:
        return f'<th scope="col"{side}>{escaped(text)}</th>'
    return (
        f'<th scope="col" aria-sort="none"{side}>'
        f'<button type="button" class="sort">{escaped(text)}</button></th>'
    )


def _cell(cell: Cell, is_first: bool, right: bool) -> str:
    is_long = isinstance(cell, str) and not isinstance(cell, Html) and len(cell) > LONG
    if isinstance(cell, str):
        content, value = escaped(cell), ""
    else:
        content = escaped(number(cell))
        # what is no number is sorted below all that are
        is_none = cell is None or math.isnan(cell)
        value = f' data-value="{"-Infinity" if is_none else cell}"'
    kind = _class("number" if right else "text" if is_long else "")
    if is_first:
        return f'<th scope="row"{kind}{value}>{content}</th>'
    return f"<td{kind}{value}>{content}</td>"


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""
