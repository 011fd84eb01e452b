"""Text files of a source: their encoding, their lines and their tables."""

import csv
import io
from dataclasses import dataclass

from components.ingest.sources.source import Source
from components.shared.dataset.text import composed, decode_text
from serving.runtime.errors import InputError


def read_text(source: Source, path: str) -> str:
    """Read a text in UTF-8 or CP949. Raises InputError when it is neither."""
    return decode_text(source.read(path), f"{source.uri}/{path}")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table: the number of its line, and its cells by the names of the columns."""

    line: int
    cells: dict[str, str]


@dataclass(frozen=True, slots=True)
class Table:
    """A table: the names of its columns, its rows, and what is wrong with the rows that cannot be used."""

    header: list[str]
    rows: list[Row]
    complaints: list[str]


def read_table(source: Source, path: str, columns: tuple[str, ...]) -> Table:
    """Read a CSV table with a header, its cells in composed letters; blank rows are nothing.

    There is one complaint for each row that has another number of cells than the header. Raises InputError when the
    text is no table, two columns have one name, or one of `columns` is missing.
    """
    reader = csv.reader(io.StringIO(read_text(source, path), newline=""))
    try:
        lines = [(reader.line_num, [composed(cell.strip()) for cell in row]) for row in reader]
    except csv.Error as error:
        raise InputError(f"{source.uri}/{path}: not a CSV table: {error}") from error
    lines = [(number, cells) for number, cells in lines if any(cells)]
    header = lines[0][1] if lines else []
    if len(set(header)) < len(header):
        raise InputError(f"{source.uri}/{path}: two columns have the same name: {', '.join(header)}")
    if not set(columns) <= set(header):
        raise InputError(
            f"{source.uri}/{path}: expected a header with the columns {', '.join(columns)}, each once; "
            f"found {', '.join(header) or 'nothing'}"
        )
    rows, complaints = [], []
    for number, cells in lines[1:]:
        if len(cells) == len(header):
            rows.append(Row(number, dict(zip(header, cells, strict=True))))
        else:
            complaints.append(f"row {number} has {len(cells)} values, the header has {len(header)}")
    return Table(header, rows, complaints)
