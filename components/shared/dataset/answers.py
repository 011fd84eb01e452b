"""Tables of class numbers: the name of a picture in `ImageID`, and the number of its class in `ans`."""

import re
from pathlib import Path

from components.shared.dataset.encodings import decode
from components.shared.dataset.label_spaces import LabelSpace
from components.shared.dataset.table import Table, parse_table
from components.shared.dataset.text import read_text, some
from serving.runtime.errors import InputError

ID, ANSWER = "ImageID", "ans"
FACE = "face_id"
"""The column that tells the faces of one picture apart."""

_HEAD = 2**16
_WHOLE = re.compile(r"(\d{1,9})(\.0*)?")


def is_answer_table(path: Path) -> bool:
    """Tell whether a file is a table of class numbers, one of each picture."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
        text = decode(head[: head.rfind(b"\n") + 1] or head, str(path)).text
        return FACE not in parse_table(text, str(path), (ID, ANSWER)).header
    except (OSError, InputError):
        return False


def parse_named_rows(text: str, name: str, *columns: str) -> Table:
    """Parse a table whose rows name their pictures in `ImageID`, see `parse_table`.

    Raises InputError, naming the table, when this or another of the columns is missing, it has no row, or a row cannot
    be read, has no id, or has that of another row.
    """
    table = parse_table(text, name, (ID, *columns))
    if table.complaints:
        raise InputError(f"{name}: {some(table.complaints, 3)}")
    if not table.rows:
        raise InputError(f"{name}: the table has no rows; expected one row per picture, with its name in {ID}")
    nameless = [str(row.line) for row in table.rows if not row.cells[ID]]
    if nameless:
        raise InputError(
            f"{name}: {len(nameless)} rows have no {ID}: row {some(nameless)}; every row names its picture"
        )
    seen: set[str] = set()
    ids = (row.cells[ID] for row in table.rows)
    twice = sorted({one for one in ids if one in seen or seen.add(one)})  # type: ignore[func-returns-value]
    if twice:
        raise InputError(f"{name}: {len(twice)} ids occur twice in {ID}: {some(twice)}; keep one row of each picture")
    return table


def read_class_numbers(path: Path, space: LabelSpace | None = None) -> dict[str, int]:
    """Return the class number of each picture, in the order of the rows.

    Args:
        path: CSV with the columns `ImageID` and `ans`.
        space: whose classes the numbers count; None for any.

    Raises:
        NotFoundError: there is no such file.
        InputError: as `parse_named_rows`, and where a number is no class.
    """
    count = len(space.class_labels) if space else None
    numbers: dict[str, int] = {}
    for row in parse_named_rows(read_text(str(path)), str(path), ANSWER).rows:
        answer = row.cells[ANSWER]
        whole = _WHOLE.fullmatch(answer)
        if whole is None or (count is not None and int(whole[1]) >= count):
            expected = "class number"
            if space and count:
                expected = (
                    f"class of the label space '{space.name}', which has 0 to {count - 1}; repair it, or where the "
                    "numbers count other classes, name their label space (--label-space, such as mask)"
                )
            raise InputError(f"{path}: row {row.line}: '{answer}' in {ANSWER} is no {expected}")
        numbers[row.cells[ID]] = int(whole[1])
    return numbers
