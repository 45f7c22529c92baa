"""Predict rows of tables with this bundle: `python inference.py --input TABLE.csv`.

In Python:

    from inference import TabularInferenceEngine
    engine = TabularInferenceEngine("path/of/the/bundle")
    engine.predict(engine.from_json({"age": 38, "city": "Oslo"}))
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime import (
    InferenceEngine,
    InvalidInput,
    Item,
)
from runtime.commandline import run
from runtime.rows import row_payload
from runtime.tables import SUFFIXES

if TYPE_CHECKING:
    from preprocessing import Columns, DateColumn, NumberColumn

BUNDLE = Path(__file__).resolve().parent
# faults of a row that its error names
MOST_FAULTS = 3
# how dates are written, by their order
DATES = {"ymd": "%Y-%m-%d", "dmy": "%d/%m/%Y", "mdy": "%m/%d/%Y"}
TIME = "T%H:%M"


class TabularInferenceEngine(InferenceEngine):
    """Rows in, predictions out; a row is a JSON object from columns to values."""

    media_types = ("application/octet-stream",)
    suffixes = SUFFIXES
    takes_rows = True
    note_names = ("ignored", "unseen", "imputed")
    item_unit = "bytes"
    default_max_item_size = 1_000_000

    @cached_property
    def table(self) -> Columns:
        """The columns that the network was trained on."""
        # imported late: --verify compares this file with its hash before it runs
        from preprocessing import Columns

        return Columns.from_dict(self.metadata["preprocessing"])

    def decode(self, payload: bytes) -> Item:
        """One row as `numbers`, float32 [N], and `categories`, int64 [C], each where there are any.

        The notes name columns that are not known, whose category is, or that have no value.

        Raises:
            InvalidInput: no row, too large, or cells that cannot be read, naming their columns.
        """
        [found] = self.decode_each([payload])
        if isinstance(found, InvalidInput):
            raise found
        return found

    def decode_each(
        self, payloads: Iterable[bytes | InvalidInput]
    ) -> Iterator[Item | InvalidInput]:
        """As any engine's; all rows become numbers together, which is many times quicker."""
        rows = list(map(self._read, payloads))
        good = [row for row in rows if not isinstance(row, InvalidInput)]
        arrays, faults = self.table.encode(good)
        reasons: dict[int, list[str]] = {}
        for fault in faults:
            reasons.setdefault(fault.row, []).append(fault.reason)
        places = count()
        for row in rows:
            if isinstance(row, InvalidInput):
                yield row
                continue
            place = next(places)
            if place in reasons:
                yield InvalidInput(_joined(reasons[place]))
                continue
            item = Item((name, array[place]) for name, array in arrays.items())
            item.notes = self._notes(row, item)
            yield item

    def _read(self, payload: bytes | InvalidInput) -> dict[str, Any] | InvalidInput:
        """The cells of a row, or why there are none."""
        from preprocessing import InvalidRow, read_row

        if isinstance(payload, InvalidInput):
            return payload
        if len(payload) > self.max_item_size:
            return InvalidInput(
                f"{len(payload):,} bytes; the limit is {self.max_item_size:,}; --max_item_size "
                "allows more"
            )
        try:
            row: dict[str, Any] = read_row(payload)
        except InvalidRow as error:
            return InvalidInput(str(error))
        return row

    def _notes(self, row: Mapping[str, Any], item: Item) -> dict[str, list[str]]:
        from preprocessing import UNSEEN, is_missing

        columns, names = self.table.columns, self.table.names
        codes = dict(zip(self.table.tables, item.get("categories", ()), strict=True))
        found = {
            "ignored": [name for name in row if name not in names],
            "unseen": [
                one.name for one in columns if one.kind == "category" and codes[one.name] == UNSEEN
            ],
            "imputed": [name for name in names if is_missing(row[name], self.table.markers)],
        }
        return {note: said for note, said in found.items() if said}

    def check(self, item: Item) -> None:
        """As any engine's; categories must be rows of their tables, too.

        Raises:
            InvalidInput: NaN or infinity, or a category that there is not, naming its column.
        """
        super().check(item)
        codes = item.get("categories", ())
        for code, (name, size) in zip(codes, self.table.tables.items(), strict=True):
            if not 0 <= code < size:
                raise InvalidInput(f"categories holds {code} for {name!r}; it has 0 to {size - 1}")

    def from_json(self, instance: object) -> bytes:
        """The row in an object from columns to values.

        Raises:
            InvalidInput: another form.
        """
        if not isinstance(instance, dict):
            raise InvalidInput("an instance is an object of columns and their values")
        return row_payload(instance)

    @property
    def hint(self) -> str:
        """How unknown values are given."""
        return "Leave empty what is not known."

    @property
    def instance_schema(self) -> dict[str, Any]:
        """JSON schema of a row; examples of numbers and dates are the least, middle and largest."""
        return {
            "type": "object",
            "required": self.table.names,
            "properties": {one.name: self._schema_of(one) for one in self.table.columns},
        }

    def _schema_of(self, column: Any) -> dict[str, Any]:
        match column.kind:
            case "number":
                return _of_number(column)
            case "date":
                return _of_date(column)
            case "boolean":
                return {"type": ["boolean", "null"]}
            case "category":
                codes = ["integer"] if column.integers else []
                return {"type": ["string", *codes, "null"], "examples": list(column.values)}
            case other:
                raise ValueError(f"{other} is no kind of column")


def _joined(reasons: Sequence[str]) -> str:
    shown = "; ".join(reasons[:MOST_FAULTS])
    more = len(reasons) - MOST_FAULTS
    return f"{shown}; and {more} more" if more > 0 else shown


def _of_number(column: NumberColumn) -> dict[str, Any]:
    feature = column.feature
    return {"type": ["number", "null"], "examples": _spread(feature.fill, feature.scale.knots)}


def _of_date(column: DateColumn) -> dict[str, Any]:
    """A date as a column has it; formats that do not begin with the year name their order."""
    has_time = "hour" in column.parts
    zone = "Z" if column.zoned else ""
    form = DATES[column.order] + (TIME + zone if has_time or zone else "")
    plain = "date-time" if zone else "local-date-time" if has_time else "date"
    named = plain if column.order == "ymd" else f"{plain}-{column.order}"
    schema: dict[str, Any] = {"type": ["string", "null"], "format": named}
    if days := column.parts.get("elapsed days"):
        start = datetime(1970, 1, 1)
        ends = _spread(days.fill, days.scale.knots)
        schema["examples"] = [(start + timedelta(days=day)).strftime(form) for day in ends]
    return schema


def _spread(middle: float, knots: Sequence[float]) -> list[float]:
    """The least, middle and largest, as whole numbers where they are such."""
    ends = (min(knots), middle, max(knots))
    return [int(end) if float(end).is_integer() else end for end in ends]


Engine = TabularInferenceEngine


def main(arguments: list[str] | None = None) -> int:
    """The command line; see `--help`."""
    return run(TabularInferenceEngine, BUNDLE, arguments)


if __name__ == "__main__":
    sys.exit(main())
