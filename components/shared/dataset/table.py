"""Tables that people write as text: a header, and rows with as many cells."""

import csv
import io
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from components.shared.dataset.text import composed, read_text
from serving.runtime.errors import InputError, NotFoundError

SEPARATORS = (",", ";", "\t", "|")
_SEPARATOR_LINE = re.compile(r"sep=(.)\r?\n", re.IGNORECASE)
_SNIFFED_LINES, _SNIFFED_LETTERS = 100, 2**18
_LONGEST_ROW_LINES = 1000
_BETWEEN_WORDS = re.compile(r"[\s_.\-]+")


@dataclass(frozen=True, slots=True)
class Row:
    """One row: the number of its last line, and its cells by column."""

    line: int
    cells: dict[str, str]


@dataclass(frozen=True, slots=True)
class Table:
    """A table as it was read.

    Attributes:
        header: the columns.
        rows: those that can be used.
        complaints: what is wrong with the others, one entry per line.
        repairs: the rows that were read in spite of a stray quote, one entry per line.
    """

    header: list[str]
    rows: list[Row]
    complaints: list[str]
    repairs: list[str] = field(default_factory=list)


@dataclass
class _Lines:
    """The cells of every row, not yet stripped, with the number of its last line, and the lines that have none."""

    rows: list[tuple[int, list[str]]] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    repairs: list[str] = field(default_factory=list)


def folded(name: str) -> str:
    """Return the name of a column in lower case and without spaces, underscores, dots and dashes."""
    return _BETWEEN_WORDS.sub("", name.casefold())


def parse_table(text: str, name: str, columns: Sequence[str], separator: str | None = None) -> Table:
    """Parse a table; cells are stripped and in composed letters, blank rows and empty cells behind a row are left out.

    A cell in quotes may hold separators and line breaks. A quote that is not closed, or is followed by something,
    swallows no rows: see `_by_line`. The separator is `separator`, else what a line `sep=;` says, else the one of
    SEPARATORS that parts header and rows into equally many cells. There is one complaint for each line that cannot
    be used. `columns` are found in any case, with or without spaces, underscores and dashes, and come back under the
    names given. Raises InputError, naming the table, when two columns have one name, one of `columns` is missing, or
    two separators are equally likely.
    """
    stated = _SEPARATOR_LINE.match(text)
    if stated:
        text = "\n" + text[stated.end() :]
    separator = separator or (stated[1] if stated else _sniffed(text, name, columns))
    is_ascii = text.isascii()
    try:
        lines = _lines(text, separator)
    except csv.Error as error:
        raise InputError(f"{name}: not a CSV table: {error}") from error
    header: list[str] = []
    rows = []
    complaints = lines.complaints
    for number, raw in lines.rows:
        cells = [cell.strip() for cell in raw] if is_ascii else [composed(cell.strip()) for cell in raw]
        if not any(cells):
            continue
        if not header:
            header = _header(cells, name, columns)
            continue
        if len(cells) > len(header) and not any(cells[len(header) :]):
            cells = cells[: len(header)]
        if len(cells) == len(header):
            rows.append(Row(number, dict(zip(header, cells, strict=True))))
        else:
            complaints.append(f"row {number} has {len(cells)} values, the header has {len(header)}")
    if not header:
        _header([], name, columns)
    return Table(header, rows, complaints, lines.repairs)


def _header(cells: Sequence[str], name: str, columns: Sequence[str]) -> list[str]:
    """Return the names of the columns; a nameless one is `column 1` and so on."""
    last = max((index for index, cell in enumerate(cells, start=1) if cell), default=0)
    header = [cell or f"column {index}" for index, cell in enumerate(cells[:last], start=1)]
    for column in columns:
        alike = [cell for cell in header if cell == column] or [c for c in header if folded(c) == folded(column)]
        if len(alike) == 1:
            header[header.index(alike[0])] = column
    if len(set(header)) < len(header):
        raise InputError(f"{name}: two columns have the same name: {', '.join(header)}")
    if not set(columns) <= set(header):
        raise InputError(
            f"{name}: expected a header with the columns {', '.join(columns)}, each once; "
            f"found {', '.join(header) or 'nothing'}"
        )
    return header


def _sniffed(text: str, name: str, columns: Sequence[str]) -> str:
    """Return the separator that parts the header and most of the first lines into equally many cells, at least two."""
    lines = [line for line in io.StringIO(text[:_SNIFFED_LETTERS]) if line.strip()][:_SNIFFED_LINES]
    shares: dict[str, float] = {}
    for separator in SEPARATORS:
        rows = [_filled(next(csv.reader([line], delimiter=separator))) for line in lines if separator in line]
        if not rows or separator not in lines[0] or len(rows[0]) < 2:
            continue
        if {folded(cell) for cell in rows[0]} >= set(map(folded, columns)):
            shares[separator] = sum(len(row) <= len(rows[0]) for row in rows[1:]) / max(1, len(lines) - 1)
    best = [separator for separator, share in shares.items() if share == max(shares.values())]
    if len(best) > 1:
        raise InputError(
            f"{name}: cannot tell what separates its cells, {' or '.join(map(repr, best))}; name it with the option "
            "'separator', or let a first line say it: sep=;"
        )
    return best[0] if best else ","


def _filled(cells: Sequence[str]) -> Sequence[str]:
    """Return cells without the empty ones at the end."""
    last = max((index for index, cell in enumerate(cells, start=1) if cell.strip()), default=0)
    return cells[:last]


def _has_width(cells: Sequence[str], width: int) -> bool:
    """Tell whether a row has as many cells as the header, empty ones behind them aside."""
    return len(cells) >= width and not any(map(str.strip, cells[width:]))


def _split(text: str) -> Iterator[str]:
    """Yield the lines of a text, their ends included. `StringIO` would hold it once more with four bytes per letter."""
    if text.count("\r") != text.count("\r\n"):
        yield from io.StringIO(text, newline="")
        return
    start = 0
    while start < len(text):
        end = text.find("\n", start) + 1 or len(text)
        yield text[start:end]
        start = end


def _lines(text: str, separator: str) -> _Lines:
    """Split a text into rows: at once where every row is one line and no quote is in doubt, else line by line."""
    reader = csv.reader(_split(text), delimiter=separator, skipinitialspace=True, strict=True)
    has_quotes = '"' in text
    try:
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error:
        if not has_quotes:
            raise
        return _by_line(text, separator)
    if has_quotes:
        width = next((len(_filled(row)) for _, row in rows if _filled(row)), 0)
        if len(rows) < reader.line_num or not all(_has_width(row, width) for _, row in rows if row):
            return _by_line(text, separator)
    return _Lines(rows)


def _by_line(text: str, separator: str) -> _Lines:
    """Split a text of which some quotes are in doubt.

    Each row is read in one of two ways: as quotes say, maybe over several lines, or as one line in which quotes are
    nothing special; `_reading` decides. Lines that are read in neither way get a complaint each.
    """
    lines = list(_split(text))
    result = _Lines()
    width = closing = index = 0
    while index < len(lines):
        quoted, end = _quoted(lines, index, separator)
        plain = [_plain(line, separator) for line in lines[index:end]]
        reading = "plain" if closing and index == closing else _reading(quoted, plain, width)
        if reading == "quoted" and quoted is not None:
            result.rows.append((end, quoted))
        elif reading == "plain":
            closing = end - 1 if end > index + 1 else 0
            end = index + 1
            result.rows.append((end, plain[0]))
            result.repairs.append(f"row {end} has a stray quote")
        else:
            end = end if reading == "doubtful" else index + 1
            result.complaints += [f"row {number}: a quote is not closed" for number in range(index + 1, end + 1)]
        if not width and result.rows:
            width = len(_filled(result.rows[-1][1]))
        index = end
    return result


def _reading(quoted: list[str] | None, plain: Sequence[list[str]], width: int) -> str:
    """Return how a row is to be read: `quoted`, `plain` (its first line), `lost` (that line) or `doubtful` (all lines).

    `quoted` are its cells as quotes say, None where a quote is not closed; `plain` are those of each of its lines when
    quotes are nothing special, and `width` those of the header, 0 for the header itself.
    """
    if not width:
        is_one = quoted is not None and (len(plain) == 1 or len(quoted) > max(map(len, plain)))
        return "quoted" if is_one else "plain"
    fits = [_has_width(cells, width) for cells in plain]
    if quoted is None or not _has_width(quoted, width):
        return "plain" if fits[0] else "quoted" if quoted is not None and len(fits) == 1 else "lost"
    if len(fits) == 1 or not (any(fits[1:-1]) or (fits[0] and fits[-1])):
        return "quoted"
    if len(fits) > 2 and 2 * sum(fits) > len(fits):
        return "plain" if fits[0] else "lost"
    return "doubtful"


def _quoted(lines: Sequence[str], index: int, separator: str) -> tuple[list[str] | None, int]:
    """Read the row that begins at a line as quotes say; return its cells, or None, and the index behind it."""
    rows = itertools.islice(lines, index, index + _LONGEST_ROW_LINES)
    reader = csv.reader(rows, delimiter=separator, skipinitialspace=True, strict=True)
    try:
        cells = next(reader)
    except csv.Error:
        return None, index + 1
    return cells, index + reader.line_num


def _plain(line: str, separator: str) -> list[str]:
    """Split one line at every separator; quotes around a cell, or at one end of it, are left out."""
    cells = [cell.strip() for cell in line.strip("\r\n").split(separator)]
    return [cell.removeprefix('"').removesuffix('"').replace('""', '"') for cell in cells]


def shipped_tables(module: str) -> dict[str, Path]:
    """Return the tables in the folder `tables` beside a module, whose `__file__` is given, by name."""
    return {path.stem: path for path in sorted((Path(module).parent / "tables").glob("*.csv"))}


def read_table(table: str, shipped: Mapping[str, Path], columns: Sequence[str]) -> list[Row]:
    """Read a table: a shipped one by its name, or a path or `s3://` address.

    Raises NotFoundError when there is no such table, InputError when a column is missing, a row has another number of
    cells than the header, or a quote is not closed.
    """
    try:
        text = read_text(str(shipped.get(table, table)))
    except NotFoundError as error:
        raise NotFoundError(f"{error}. Tables that ship: {', '.join(shipped)}") from error
    parsed = parse_table(text, table, columns)
    for fault in (*parsed.complaints, *parsed.repairs):
        raise InputError(f"{table}: {fault}")
    return parsed.rows
