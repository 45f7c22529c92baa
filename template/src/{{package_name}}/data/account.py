"""The account of a reading: what was taken, changed, left out, or cannot be used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import BadSamples, DataError
from ..serving.runtime.messages import shown as shown

# of one reason, how many are named
EXAMPLES = 3


@dataclass
class Account:
    """Collects what whoever owns the data should know; nothing is misread or dropped in silence.

    Attributes:
        notes: what was recognised or tidied up.
        warnings: what is probably not as it should be.
        problems: one line for each sample that cannot be used, beginning with where it is.
        unknown: labels that training lacks, whose samples are among the problems.
        left_out: names of what was not taken, in order, by the reason.
    """

    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    unknown: set[str] = field(default_factory=set)
    left_out: dict[str, dict[str, None]] = field(default_factory=dict)

    def note(self, line: str) -> None:
        """Something was recognised or tidied up; said once."""
        if line not in self.notes:
            self.notes.append(line)

    def warn(self, line: str) -> None:
        """Something is probably not as it should be; said once."""
        if line not in self.warnings:
            self.warnings.append(line)

    def leave_out(self, name: object, reason: str) -> None:
        """Something is not used; told once, however often it was met."""
        self.left_out.setdefault(reason, {})[str(name)] = None

    def check(self, data: str) -> None:
        """Stop where samples cannot be used.

        Raises:
            BadSamples: naming them all.
        """
        if self.problems:
            raise BadSamples(data, self.problems)

    def check_labels(self, data: str, names: list[str]) -> None:
        """Stop where samples have labels that a network has not learned.

        Raises:
            DataError: naming those labels.
        """
        if self.unknown:
            raise DataError(
                f"{data} has {shown(sorted(self.unknown))}, which the network has not learned: it "
                f"knows {shown(names, 20)}; take those samples out, or call them as in training"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return {
            "notes": self.notes,
            "warnings": self.warnings,
            "left_out": [
                {"reason": reason, "count": len(names), "examples": list(names)[:EXAMPLES]}
                for reason, names in self.left_out.items()
            ],
        }


def account_lines(told: Mapping[str, Any]) -> Iterator[str]:
    """What was left out, recognised or tidied up, a line each, of `Account.to_dict`."""
    for left in told["left_out"]:
        more = f" and {left['count'] - len(left['examples'])} more"
        examples = ", ".join(left["examples"])
        rest = more if left["count"] > len(left["examples"]) else ""
        yield f"left out, {left['reason']}: {examples}{rest}"
    yield from told["notes"]
