"""Text files of a source: their encoding, their lines and their tables."""

import csv
import io
from dataclasses import dataclass

from components.ingest.source import Source
from serving.runtime.errors import InputError


def read_text(source: Source, path: str) -> str:
    """Read a text in UTF-8, with or without a byte order mark, or else in CP949, as older Korean tools write it.

    Raises InputError when it is neither.
    """
    data = source.read(path)
    for encoding in ("utf-8-sig", "cp949"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise InputError(f"{source.uri}/{path}: not a text in UTF-8 or CP949; save it as UTF-8")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table: the number of its line, and its cells by the names of the columns."""

    line: int
    cells: dict[str, str]


def read_table(source: Source, path: str, columns: tuple[str, ...]) -> tuple[list[Row], list[str]]:
    """Read a CSV table with a header.

    Returns the rows without the blank ones, and one complaint for each row that has another number of cells than the
    header. Raises InputError when the text is no table or lacks one of the columns.
    """
    reader = csv.reader(io.StringIO(read_text(source, path), newline=""))
    try:
        lines = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except csv.Error as error:
        raise InputError(f"{source.uri}/{path}: not a CSV table: {error}") from error
    lines = [(number, cells) for number, cells in lines if any(cells)]
    header = lines[0][1] if lines else []
    missing = [name for name in columns if name not in header]
    if missing or len(set(header)) < len(header):
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
    return rows, complaints
