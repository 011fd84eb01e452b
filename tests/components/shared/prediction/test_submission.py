"""The table that names the pictures, filled with class numbers."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.shared.prediction.submission import parse_form, write_answers, write_submission
from serving.runtime.errors import InputError

NAMES = st.from_regex(r"[0-9a-f]{4}\.jpg", fullmatch=True)


def text_of(rows: list[list[str]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerows(rows)
    return buffer.getvalue()


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_rows_and_order_are_those_of_the_table(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    names = data.draw(st.lists(NAMES, min_size=1, max_size=8, unique=True))
    answers = {name: data.draw(st.integers(0, 17)) for name in data.draw(st.permutations([*names, "other.jpg"]))}
    header = data.draw(st.sampled_from([["ImageID"], ["ImageID", "ans"], ["ans", "place", "ImageID"]]))
    cells = {"ans": "9", "place": "door, left"}
    form = parse_form(
        text_of([header, *([cells.get(column, name) for column in header] for name in names)]), "info.csv"
    )
    output = tmp_path_factory.mktemp("submission") / "out.csv"
    write_submission(form, answers, output)
    found = read(output)
    assert [row["ImageID"] for row in found] == names
    assert [int(row["ans"]) for row in found] == [answers[name] for name in names]
    assert list(found[0]) == (header if "ans" in header else [*header, "ans"])
    assert {row.get("place") for row in found} <= {"door, left", None}


def test_a_picture_without_an_answer_is_an_error(tmp_path: Path) -> None:
    form = parse_form("ImageID,ans\na.jpg,0\nb.jpg,0\n", "info.csv")
    with pytest.raises(InputError, match="info.csv: 1 of 2 pictures have no prediction: b.jpg"):
        write_submission(form, {"a.jpg": 1}, tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ImageID\na.jpg\na.jpg\n", "1 ids occur twice in ImageID: a.jpg"),
        ("image\na.jpg\n", "expected a header with the columns ImageID"),
        ("ImageID,ans\n,0\n", "1 rows have no ImageID: row 2"),
        ("ImageID\n", "the table has no rows"),
    ],
)
def test_a_wrong_table_is_one_error(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_form(text, "info.csv")


def test_answers_tell_faces_of_one_picture_apart(tmp_path: Path) -> None:
    write_answers([("a.jpg", 1, 3), ("b.jpg", 2, 4)], tmp_path / "one.csv")
    assert (tmp_path / "one.csv").read_text() == "ImageID,ans\na.jpg,3\nb.jpg,4\n"
    write_answers([("a.jpg", 1, 3), ("a.jpg", 2, 4)], tmp_path / "two.csv")
    assert (tmp_path / "two.csv").read_text() == "ImageID,face_id,ans\na.jpg,1,3\na.jpg,2,4\n"
