"""The rows of a predictions table, before they are read as those of a task."""

import csv
from dataclasses import dataclass
from pathlib import Path

from serving.runtime.errors import InputError, NotFoundError


@dataclass(frozen=True, slots=True)
class PredictionRows:
    """The rows of a CSV file as text, each as long as the header."""

    path: Path
    header: list[str]
    rows: list[list[str]]

    def column(self, name: str) -> list[str]:
        """Return the values of a column, "" where the table lacks it."""
        return [row[self.header.index(name)] for row in self.rows] if name in self.header else [""] * len(self.rows)

    def one_value(self, name: str) -> str:
        """Return the value that all rows have in a column. Raises InputError when they differ."""
        values = sorted(set(self.column(name)))
        if len(values) > 1:
            several = ", ".join(values[:5])
            raise InputError(
                f"{self.path}: column '{name}' has several values ({several}): one model and data set per file"
            )
        return values[0]


def read_rows(path: Path) -> PredictionRows:
    """Read a table with at least one row.

    Raises NotFoundError when there is no such file, InputError naming the file when it is no CSV, is empty or has a row
    of another length than the header.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
    except (FileNotFoundError, IsADirectoryError) as error:
        raise NotFoundError(f"{path}: no such predictions file") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV file in UTF-8: {error}") from error
    if len(rows) < 2:
        raise InputError(f"{path}: the file contains no predictions")
    header = rows.pop(0)
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise InputError(f"{path}: line {number} has {len(row)} values, the header has {len(header)}")
    return PredictionRows(path, header, rows)
