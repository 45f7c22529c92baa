"""What may be wrong with the samples themselves: duplicates, leaks, labels, outliers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from ..atomic import write_whole
from ..errors import DataError
from .splits import ENOUGH_TO_VALIDATE, Splits, labels_of

if TYPE_CHECKING:
    import datasets
    from scipy.sparse import csr_array

Features: TypeAlias = npt.NDArray[np.float32]
Indices: TypeAlias = npt.NDArray[np.int64]

Kind = Literal["exact_duplicates", "near_duplicates", "mislabel", "outlier", "few_samples"]

# what one sample is compared with
NEIGHBOURS = 10

# by what share of these another class must lead: 8 against 1 of ten, not 7 against 1
NEIGHBOURS_LEAD = 0.65

# by what probability it must, where a linear model that was fitted to other folds tells it
PLAIN_LEAD, FOLDS = 0.5, 5

# robust standard deviations of the logarithm of the distance
OUTLIER_DEVIATIONS = 5.0


@dataclass(frozen=True)
class Member:
    """A sample that a finding names.

    Attributes:
        split: train, val or test.
        row: its row in the split, from 0.
        where: its file, or what else tells people which one it is.
        label: class, labels or values as text; None where the task has none.
    """

    split: str
    row: int
    where: str
    label: str | None


@dataclass(frozen=True)
class Finding:
    """Something that may be wrong.

    Attributes:
        kind: what.
        members: the samples it is about; none for `few_samples`.
        score: duplicates: the lowest similarity that holds the group together, 1 for equal;
            mislabel: the lead of the other class, as a share of the neighbours or a probability;
            outlier: how many times farther from its neighbours than a usual sample; few_samples:
            how many.
        label: mislabel: the class it looks like; few_samples: the class.
        leak: members lie in several splits.
        contradiction: members have different labels.
    """

    kind: Kind
    members: list[Member]
    score: float
    label: str | None = None
    leak: bool = False
    contradiction: bool = False


@dataclass(frozen=True)
class Findings:
    """All that was found, ready for JSON.

    Attributes:
        data: where the samples lie.
        samples: how many there are in each split.
        run: the run whose network looked at them; None where there was none.
        findings: of each kind, the surest first.
        notes: what was not looked at, and why.
    """

    data: str
    samples: dict[str, int]
    run: str | None = None
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    FILE = "doctor.json"

    def of(self, *kinds: Kind) -> list[Finding]:
        """The findings of these kinds."""
        return [finding for finding in self.findings if finding.kind in kinds]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return asdict(self)

    def save(self, folder: Path) -> Path:
        """Write `doctor.json`, whole or not at all.

        Raises:
            DataError: it cannot be written.
        """
        path = folder / self.FILE
        try:
            write_whole(path, json.dumps(self.to_dict(), indent=1) + "\n")
        except OSError as error:
            raise DataError(f"cannot write {path}: {error.strerror}") from error
        return path

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """Inverse of `save`; None where there is no such file.

        Raises:
            DataError: it is damaged, or another version of this project wrote it.
        """
        path = folder / cls.FILE
        if not path.is_file():
            return None
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            findings = [
                Finding(**{**row, "members": [Member(**member) for member in row["members"]]})
                for row in stored.pop("findings")
            ]
            return cls(**stored, findings=findings)
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(f"{path} cannot be read; write it anew: `data check --deep`") from error


class Samples:
    """The samples of all splits, one after the other: one number names one.

    Args:
        splits: the rows.
        where: names the sample of a row that has this number in its split, given the processor.

    Attributes:
        tables: the rows of each split.
        sizes: how many there are.
        split_of: int64 [N], the number of the split of each sample.
        labels: int64 [N] of classes, float32 [N, K], or None where the task has no labels.
        names: of the classes, labels or values.
        has_classes: whether each sample has exactly one class.
        is_multi_hot: whether each sample has any number of labels.
        processor: what made numbers of the samples, where anything was learned for that.
    """

    def __init__(self, splits: Splits, where: Callable[[dict[str, Any], int, Any], str]) -> None:
        tables = {"train": splits.train, "val": splits.val, "test": splits.test}
        self.tables: dict[str, datasets.Dataset] = {
            name: rows for name, rows in tables.items() if rows is not None
        }
        self.sizes = {name: len(rows) for name, rows in self.tables.items()}
        self.names = splits.output_names
        self.split_of = np.repeat(np.arange(len(self.tables)), list(self.sizes.values()))
        self.labels = _labels(self.tables.values())
        self.has_classes = self.labels is not None and self.labels.ndim == 1
        self.is_multi_hot = _is_multi_hot(self.labels)
        self.processor = splits.processor
        self._where = where
        self._first = np.concatenate([[0], np.cumsum(list(self.sizes.values()))])

    def __len__(self) -> int:
        return int(self._first[-1])

    def values(self, column: str, numbers: Indices) -> list[Any]:
        """A column of some samples, whose numbers ascend."""
        found: list[Any] = []
        for first, rows in zip(self._first, self.tables.values(), strict=False):
            mine = numbers[(numbers >= first) & (numbers < first + len(rows))] - first
            found += rows.select_columns(column)[mine.tolist()][column]
        return found

    def member(self, number: int) -> Member:
        """What a finding says of a sample."""
        split = int(self.split_of[number])
        name = list(self.tables)[split]
        row = number - int(self._first[split])
        return Member(
            name, row, self._where(self.tables[name][row], row, self.processor), self._label(number)
        )

    def _label(self, number: int) -> str | None:
        if self.labels is None:
            return None
        label = self.labels[number]
        if self.has_classes:
            return self.names[int(label)]
        if self.is_multi_hot:
            return ";".join(self.names[output] for output in np.flatnonzero(label))
        return ";".join(f"{value:g}" for value in label)


def _labels(tables: Iterable[datasets.Dataset]) -> npt.NDArray[Any] | None:
    tables = list(tables)
    if any("labels" not in rows.column_names for rows in tables):
        return None
    labels = np.concatenate([labels_of(rows) for rows in tables if len(rows)])
    return labels.astype(np.int64 if np.issubdtype(labels.dtype, np.integer) else np.float32)


def _is_multi_hot(labels: npt.NDArray[Any] | None) -> bool:
    return labels is not None and labels.ndim == 2 and bool(np.isin(labels, (0.0, 1.0)).all())


# --- Duplicates ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Similar:
    """Which samples are alike.

    Attributes:
        digests: one for each sample, equal where the content is; None where it cannot be read.
        pairs: int64 [P, 2], samples that are nearly the same; of equal ones it names only one.
        scores: float32 [P], how much so, up to 1.
    """

    digests: Sequence[str | None]
    pairs: Indices
    scores: npt.NDArray[np.float32]


def first_of_each(digests: Sequence[str | None]) -> Indices:
    """The number of the first sample with each digest, ascending: int64 [U]."""
    return np.array([numbers[0] for numbers in _equal(digests).values()], dtype=np.int64)


def nearest_pairs(points: npt.NDArray[np.float32], nearest: int, difference: float) -> Indices:
    """Pairs of points that are not farther apart than a root mean square difference: int64 [P, 2].

    Points that are means of parts of others are never farther apart than those.

    R. Agrawal, C. Faloutsos, A. Swami, "Efficient Similarity Search in Sequence Databases", 1993 (a
    distance that bounds another from below).

    Args:
        points: [N, D].
        nearest: others that are looked for, for each.
        difference: of two points.
    """
    from scipy.spatial import KDTree

    if len(points) < 2:
        return np.empty((0, 2), dtype=np.int64)
    reach = difference * points.shape[1] ** 0.5
    count = min(nearest + 1, len(points))  # each finds itself
    _, found = KDTree(points).query(points, count, distance_upper_bound=reach, workers=-1)
    first = np.repeat(np.arange(len(points)), count)
    second = found.ravel()
    linked = (second < len(points)) & (first != second)
    pairs = np.sort(np.stack([first[linked], second[linked]], 1), axis=1)
    unique: Indices = np.unique(pairs, axis=0)
    return unique


def find_duplicates(samples: Samples, similar: Similar) -> list[Finding]:
    """Groups of equal and of nearly equal samples.

    Near duplicates of near duplicates are one group, together with all that equal one of them.
    Values to predict that differ contradict each other between equal samples only: a nearly equal
    one may have a slightly different value.

    Returns:
        the most similar first.
    """
    equal = _equal(similar.digests)
    exact = [
        _group("exact_duplicates", numbers, 1.0, samples)
        for numbers in equal.values()
        if len(numbers) > 1
    ]
    near = [
        _group(
            "near_duplicates",
            sorted({n for number in numbers for n in equal[similar.digests[number]]}),
            score,
            samples,
        )
        for numbers, score in connected(len(samples), similar.pairs, similar.scores)
    ]
    return sorted([*exact, *near], key=lambda found: -found.score)


def _equal(digests: Sequence[str | None]) -> dict[str | None, list[int]]:
    """Numbers of the samples with each digest, in their order."""
    members: dict[str | None, list[int]] = {}
    for number, digest in enumerate(digests):
        if digest is not None:
            members.setdefault(digest, []).append(number)
    return members


def _group(kind: Kind, numbers: list[int], score: float, samples: Samples) -> Finding:
    return Finding(
        kind,
        [samples.member(number) for number in numbers],
        score,
        leak=len(set(samples.split_of[numbers].tolist())) > 1,
        contradiction=_contradict(kind, numbers, samples),
    )


def _contradict(kind: Kind, numbers: list[int], samples: Samples) -> bool:
    if samples.labels is None:
        return False
    if kind == "near_duplicates" and not (samples.has_classes or samples.is_multi_hot):
        return False
    return len(np.unique(samples.labels[numbers], axis=0)) > 1


def connected(
    count: int, pairs: Indices, scores: npt.NDArray[np.float32]
) -> list[tuple[list[int], float]]:
    """Groups that the pairs link, each with the lowest score among its pairs.

    Args:
        count: samples there are.
        pairs: int64 [P, 2].
        scores: float32 [P].
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not len(pairs):
        return []
    links = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    component = connected_components(links, directed=False)[1]
    members: dict[int, list[int]] = {}
    for number in np.unique(pairs).tolist():
        members.setdefault(int(component[number]), []).append(number)
    lowest = np.ones(count, dtype=np.float32)
    np.minimum.at(lowest, component[pairs[:, 0]], scores)
    return [(numbers, float(lowest[group])) for group, numbers in members.items()]


def find_rare_classes(samples: Samples) -> list[Finding]:
    """Classes with fewer than `ENOUGH_TO_VALIDATE` validation samples, the fewest first."""
    if not samples.has_classes:
        return []
    assert samples.labels is not None
    validation = samples.split_of == list(samples.tables).index("val")
    counts = np.bincount(samples.labels[validation], minlength=len(samples.names))
    return [
        Finding("few_samples", [], float(counts[index]), samples.names[index])
        for index in np.argsort(counts, kind="stable")
        if counts[index] < ENOUGH_TO_VALIDATE
    ]


# --- What a trained network makes of them --------------------------------------------------------


@dataclass(frozen=True)
class Neighbours:
    """The nearest other samples of each.

    Attributes:
        numbers: int64 [N, k].
        distances: float32 [N, k].
    """

    numbers: Indices
    distances: npt.NDArray[np.float32]


def nearest_neighbours(features: Features) -> Neighbours | None:
    """The `NEIGHBOURS` nearest others of each sample; None where there are too few samples.

    Args:
        features: [N, F].
    """
    from sklearn.neighbors import NearestNeighbors

    if len(features) < 2 * NEIGHBOURS:
        return None
    search = NearestNeighbors(n_neighbors=NEIGHBOURS, algorithm="brute").fit(features)
    distances, numbers = search.kneighbors()  # of the samples it knows, without themselves
    return Neighbours(numbers.astype(np.int64), distances.astype(np.float32))


@dataclass(frozen=True)
class Opinion:
    """How much speaks for each class of a sample, its own label having taken no part in that.

    Attributes:
        shares: float32 [n, classes], up to 1.
        least_lead: by which another class must exceed a sample's own to doubt its label.
    """

    shares: Features
    least_lead: float

    def agreement(self, labels: Indices) -> float:
        """The share of samples whose own class, int64 [n], is the likeliest."""
        return float((self.shares.argmax(1) == labels).mean())


def opinion_of_neighbours(labels: Indices, neighbours: Neighbours, classes: int) -> Opinion:
    """The class is voted for by the nearest others, which leaves the sample itself out.

    The network was trained on these very labels, so what it says of its training samples is biased;
    features of several depths are less so, because deep layers remember wrong labels where shallow
    ones do not.

    D. Bahri, H. Jiang, M. Gupta, "Deep k-NN for Noisy Labels", 2020 (the vote); C. Stephenson et
    al., "On the Geometry of Generalization and Memorization in Deep Neural Networks", 2021 (depth).

    Args:
        labels: int64 [n].
        neighbours: of each.
        classes: how many there are.
    """
    shares = np.zeros((len(labels), classes), dtype=np.float32)
    rows = np.repeat(np.arange(len(labels)), neighbours.numbers.shape[1])
    np.add.at(shares, (rows, labels[neighbours.numbers].ravel()), 1 / neighbours.numbers.shape[1])
    return Opinion(shares, NEIGHBOURS_LEAD)


def opinion_of_plain_features(features: csr_array, labels: Indices, classes: int) -> Opinion | None:
    """A linear model, fitted to the other folds, knows nothing of what the network remembers.

    C. Northcutt, L. Jiang, I. Chuang, "Confident Learning", 2021 (out-of-fold probabilities, and
    their margin).

    Args:
        features: float [n, F], made without labels; each row is of length 1.
        labels: int64 [n].
        classes: how many there are.

    Returns:
        nothing for samples of classes that are too small to judge; None where no two are larger.
    """
    from sklearn.linear_model import SGDClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    counted = np.flatnonzero(np.bincount(labels, minlength=classes)[labels] > NEIGHBOURS)
    known = np.unique(labels[counted])
    if len(known) < 2:
        return None
    model = SGDClassifier(loss="log_loss", random_state=0)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    shares = np.zeros((len(labels), classes), dtype=np.float32)
    shares[np.ix_(counted, known)] = cross_val_predict(
        model, features[counted], labels[counted], cv=folds, method="predict_proba"
    )
    return Opinion(shares, PLAIN_LEAD)


def find_mislabels(
    samples: Samples, numbers: Indices, opinions: Sequence[Opinion]
) -> list[Finding]:
    """Samples of which an opinion says that they have another class.

    Classes of no more than `NEIGHBOURS` samples are not judged: those could be outvoted without
    being wrong.

    Args:
        samples: all samples; each has one class.
        numbers: int64 [n], which of them were looked at.
        opinions: of these; one is enough.

    Returns:
        the surest first.
    """
    assert samples.labels is not None
    labels = samples.labels[numbers]
    rows = np.arange(len(labels))
    leads, others = [], []
    for opinion in opinions:
        rivals = opinion.shares.copy()
        rivals[rows, labels] = -1
        other = rivals.argmax(1)
        lead = rivals[rows, other] - opinion.shares[rows, labels]
        leads.append(np.where(lead >= opinion.least_lead, lead, 0))
        others.append(other)
    surest = np.argmax(leads, axis=0)
    lead, other = np.array(leads)[surest, rows], np.array(others)[surest, rows]
    judged = np.bincount(labels, minlength=len(samples.names)) > NEIGHBOURS
    named = np.flatnonzero((lead > 0) & judged[labels])
    return [
        Finding(
            "mislabel",
            [samples.member(int(numbers[row]))],
            float(lead[row]),
            samples.names[int(other[row])],
        )
        for row in named[np.argsort(-lead[named], kind="stable")]
    ]


def find_outliers(samples: Samples, numbers: Indices, neighbours: Neighbours) -> list[Finding]:
    """Samples that lie far from all others.

    S. Ramaswamy, R. Rastogi, K. Shim, "Efficient Algorithms for Mining Outliers from Large Data
    Sets", 2000 (the distance to the neighbours); B. Iglewicz, D. Hoaglin, "How to Detect and Handle
    Outliers", 1993 (deviations from a median).

    Args:
        samples: all samples.
        numbers: int64 [n], which of them were looked at.
        neighbours: of these, as positions in `numbers`.

    Returns:
        the farthest first.
    """
    distance = np.log(neighbours.distances.mean(1).clip(min=1e-12))
    median = np.median(distance)
    usual = np.abs(distance - median)
    deviation = 1.4826 * np.median(usual)  # of a normal distribution: its standard deviation
    far = np.flatnonzero(distance > median + OUTLIER_DEVIATIONS * max(float(deviation), 0.05))
    return [
        Finding(
            "outlier", [samples.member(int(numbers[row]))], float(np.exp(distance[row] - median))
        )
        for row in far[np.argsort(-distance[far], kind="stable")]
    ]
