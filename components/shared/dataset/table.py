"""CSV tables that people write: a header, and rows with as many cells."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from components.shared.dataset.text import composed, read_text
from serving.runtime.errors import InputError, NotFoundError


@dataclass(frozen=True, slots=True)
class Row:
    """One row: the number of its line, and its cells by column."""

    line: int
    cells: dict[str, str]


@dataclass(frozen=True, slots=True)
class Table:
    """The columns, the rows, and what is wrong with the rows that cannot be used."""

    header: list[str]
    rows: list[Row]
    complaints: list[str]


def parse_table(text: str, name: str, columns: Sequence[str]) -> Table:
    """Parse a table; cells are stripped and in composed letters, blank rows are left out.

    There is one complaint for each row that has another number of cells than the header. Raises InputError, naming the
    table, when the text is not a table, two columns have one name, or one of `columns` is missing.
    """
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        lines = [(reader.line_num, [composed(cell.strip()) for cell in row]) for row in reader]
    except csv.Error as error:
        raise InputError(f"{name}: not a CSV table: {error}") from error
    lines = [(number, cells) for number, cells in lines if any(cells)]
    header = lines[0][1] if lines else []
    if len(set(header)) < len(header):
        raise InputError(f"{name}: two columns have the same name: {', '.join(header)}")
    if not set(columns) <= set(header):
        raise InputError(
            f"{name}: expected a header with the columns {', '.join(columns)}, each once; "
            f"found {', '.join(header) or 'nothing'}"
        )
    rows, complaints = [], []
    for number, cells in lines[1:]:
        if len(cells) == len(header):
            rows.append(Row(number, dict(zip(header, cells, strict=True))))
        else:
            complaints.append(f"row {number} has {len(cells)} values, the header has {len(header)}")
    return Table(header, rows, complaints)


def shipped_tables(module: str) -> dict[str, Path]:
    """Return the tables in the folder `tables` beside a module, whose `__file__` is given, by name."""
    return {path.stem: path for path in sorted((Path(module).parent / "tables").glob("*.csv"))}


def read_table(table: str, shipped: Mapping[str, Path], columns: Sequence[str]) -> list[Row]:
    """Read a table: a shipped one by its name, or a path or `s3://` address. Column names are in lower case.

    Raises NotFoundError when there is no such table, InputError when a column is missing or a row has another number
    of cells than the header.
    """
    try:
        text = read_text(str(shipped.get(table, table)))
    except NotFoundError as error:
        raise NotFoundError(f"{error}. Tables that ship: {', '.join(shipped)}") from error
    header, newline, rows = text.partition("\n")
    parsed = parse_table(header.lower() + newline + rows, table, columns)
    if parsed.complaints:
        raise InputError(f"{table}: {parsed.complaints[0]}")
    return parsed.rows
