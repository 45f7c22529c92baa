"""What `data check --deep` found with a run, where it was asked."""

from __future__ import annotations

from pathlib import Path

from ..data.doctor import Finding, Findings, Samples
from ..data.similarity import where, whole_samples
from ..data.splits import Splits
from ..deep_check import describe
from ..errors import DataError
from ..training.trained_model import TrainedModel
from .elements import Html, escaped, heading, joined, paragraph
from .page import Section
from .samples import card
from .views import view

# of the samples that are probably under a wrong label
SHOWN = 24


def sections(run_dir: Path, trained: TrainedModel, splits: Splits | None) -> list[Section]:
    """The findings as a section; none where nobody looked.

    Args:
        run_dir: folder of the run.
        trained: its network.
        splits: the data as they are now; None where they are gone.
    """
    try:
        findings = Findings.load(run_dir)
    except DataError as error:
        return [Section("Data doctor", paragraph(str(error)))]
    if findings is None:
        return []
    told = "\n".join([*describe(findings), *findings.notes])
    parts = [Html(f'<pre tabindex="0">{escaped(told)}</pre>')]
    if splits is not None and (cards := doubted(trained, splits, findings)):
        parts += [
            heading("Probably under a wrong label"),
            Html(f'<ul class="samples">\n{joined(cards)}\n</ul>'),
        ]
    return [Section("Data doctor", joined(parts))]


def doubted(trained: TrainedModel, splits: Splits, findings: Findings) -> list[Html]:
    """How the samples look whose label is in doubt; none where the data are others by now.

    Raises:
        nothing: what cannot be read any more is left out.
    """
    mislabels = findings.of("mislabel")[:SHOWN]
    if not mislabels or findings.data != trained.config.data:
        return []
    try:
        samples = Samples(whole_samples(splits, trained.config), where)
        cards = [_card(trained, samples, finding) for finding in mislabels]
    except DataError:
        return []
    return [] if None in cards else [card for card in cards if card is not None]


def _card(trained: TrainedModel, samples: Samples, finding: Finding) -> Html | None:
    """None where another sample has taken its place since."""
    [member] = finding.members
    rows = samples.tables[member.split]
    if member.row >= len(rows):
        return None
    if where(rows[member.row], member.row, samples.processor) != member.where:
        return None
    rather = f'<span class="wrong">rather {escaped(finding.label)}</span>'
    told = Html(f"{escaped(member.label)}, {rather}")
    return card(view(trained, rows, member.row), member.where, [told])
