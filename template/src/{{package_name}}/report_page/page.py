"""The page: its sections put into one file that asks for nothing else."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from string import Template
from typing import Any

import vl_convert

from .charts import Chart
from .elements import Html, escaped, joined


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading of its own.

    Attributes:
        title: its heading.
        body: what stands under it.
        charts: those whose places are in `body`.
        data: what the page's script needs beside them, ready for JSON, by a name.
    """

    title: str
    body: Html
    charts: Sequence[Chart] = ()
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def anchor(self) -> str:
        """Where links to it lead."""
        return "-".join(self.title.lower().split())


def page(title: str, kicker: str, verdict: Html, sections: Sequence[Section]) -> str:
    """The whole file.

    Args:
        title: of the page.
        kicker: a line above it.
        verdict: what the page says, in a sentence or two.
        sections: in their order.
    """
    library, script = plotting_library(), _asset("page.js")
    data: dict[str, Any] = {
        "charts": {chart.name: chart.drawn() for section in sections for chart in section.charts}
    }
    for section in sections:
        data |= section.data
    return Template(_asset("page.html")).substitute(
        policy=_policy(library, script),
        title=escaped(title),
        kicker=escaped(kicker),
        style=_asset("page.css"),
        verdict=verdict,
        links="\n".join(
            f'<li><a href="#{escaped(section.anchor)}">{escaped(section.title)}</a></li>'
            for section in sections
        ),
        sections=joined(_of_section(section) for section in sections),
        data=as_json(data),
        library=library,
        script=script,
    )


def _of_section(section: Section) -> Html:
    anchor = escaped(section.anchor)
    return Html(
        f'<section id="{anchor}" aria-labelledby="{anchor}-title">\n'
        f'<h2 id="{anchor}-title">{escaped(section.title)}</h2>\n{section.body}\n</section>'
    )


def as_json(data: Any) -> str:
    """JSON that may stand inside a page's script element, whatever its texts hold."""
    # an element ends at `</script`, and begins a comment at `<!--`
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


@cache
def plotting_library() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script: it takes seconds to put together."""
    # its stub wants a snippet, which it does without
    return vl_convert.javascript_bundle()  # type: ignore[call-arg]


def _asset(name: str) -> str:
    return files(__package__ or "").joinpath(name).read_text(encoding="utf-8")


def _policy(*scripts: str) -> str:
    """Lets these scripts run and no others, and the page ask for nothing."""
    digests = (hashlib.sha256(script.encode()).digest() for script in scripts)
    allowed = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "media-src data:; base-uri 'none'; form-action 'none'"
    )
