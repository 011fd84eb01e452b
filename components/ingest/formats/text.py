"""Text files and tables of a source."""

from components.ingest.sources.source import Source
from components.shared.dataset.table import Table, parse_table
from components.shared.dataset.text import decode_text


def read_text(source: Source, path: str) -> str:
    """Read a text in UTF-8 or CP949. Raises InputError when it is neither."""
    return decode_text(source.read(path), f"{source.uri}/{path}")


def read_table(source: Source, path: str, columns: tuple[str, ...]) -> Table:
    """Read a CSV table. Raises InputError when it is not a text, and as `parse_table` does."""
    return parse_table(read_text(source, path), f"{source.uri}/{path}", columns)
