"""Rows of tables that are inputs by themselves: each a JSON object from columns to cells."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, time
from decimal import Decimal
from typing import Any

from .engine import InvalidInput
from .tables import Number

# of tables as bodies of requests, the suffix that a file of the same content has
MEDIA_TYPES = {
    "text/csv": ".csv",
    "text/tab-separated-values": ".tsv",
    "application/x-ndjson": ".ndjson",
    "application/ndjson": ".ndjson",
    "application/jsonl": ".jsonl",
    "application/x-jsonlines": ".jsonl",
}


def row_payload(row: Mapping[str, Any]) -> bytes:
    """A row as an input, whose cells are what training makes of them.

    Numbers keep their characters; dates and times are texts, as ISO 8601 has them.

    Args:
        row: cells by column, as readers of tables give them.

    Raises:
        InvalidInput: a cell that JSON has nothing for, naming its column.
    """
    cells = (f"{json.dumps(column)}: {_written(column, cell)}" for column, cell in row.items())
    return ("{" + ", ".join(cells) + "}").encode()


def _written(column: str, cell: Any) -> str:
    if isinstance(cell, Number | Decimal):
        return str(cell)
    if isinstance(cell, date | time):
        return json.dumps(cell.isoformat())
    try:
        return json.dumps(cell)
    except TypeError:
        raise InvalidInput(f"{column} holds {type(cell).__name__}, which is no cell") from None
