"""Votes of annotators against the label."""

from pathlib import Path

import pytest
from report_pages import cells, image, report, write

from components.data_report.annotators import MAX_VALUES, OTHERS, count_votes
from components.shared.dataset.annotations import Image


def voted(number: int, emotion: str | None, votes: object, uploader: str | None = None) -> Image:
    attributes = {"emotion": emotion, "votes": votes, "uploader": uploader}
    return image(number, attributes={name: value for name, value in attributes.items() if value is not None})


def test_votes_are_counted_against_the_label() -> None:
    votes = count_votes(
        [
            voted(1, "happy", ["happy", "happy", "happy"], "happy"),
            voted(2, "happy", ["normal", "happy", "normal"], "normal"),
            voted(3, "anger", ["anger", "sad", "unknown"], "anger"),
            voted(4, None, ["sad", "sad"]),
            voted(5, "anger", ["분노", None, "anger"], "분노"),
            voted(6, "anger", []),
            voted(7, "anger", "anger"),
            image(8),
        ]
    )
    assert votes is not None
    assert votes.labels == ("anger", "happy", None) and votes.values == ("anger", "happy", "normal", "sad", "unknown")
    assert votes.matrix.tolist() == [[3, 0, 0, 1, 1], [0, 4, 2, 0, 0], [0, 0, 0, 2, 0]]
    assert votes.faces.tolist() == [2, 2, 1] and votes.agreeing.tolist() == [3, 4, 0]
    assert votes.unanimous.tolist() == [1, 1, 0] and votes.outvoted.tolist() == [0, 1, 1]
    assert votes.uploader.tolist() == [2, 1, 0] and votes.uploaders.tolist() == [2, 2, 0]
    assert votes.all_differ == 1
    assert count_votes([image(1)]) is None


@pytest.mark.parametrize(
    ("votes", "outvoted"),
    [(["sad"], 1), (["sad", "happy"], 0), (["sad", "sad", "happy"], 1), (["sad", "sad", "happy", "anger"], 0)],
)
def test_a_label_is_outvoted_by_more_than_half_of_the_votes(votes: list[str], outvoted: int) -> None:
    counted = count_votes([voted(1, "anger", votes)])
    assert counted is not None and counted.outvoted.tolist() == [outvoted]


def test_rare_values_are_counted_together() -> None:
    votes = count_votes([voted(i, f"value{i:03d}", [f"value{i:03d}", f"value{i + 1:03d}"]) for i in range(1, 200)])
    assert votes is not None
    assert len(votes.labels) == len(votes.values) == MAX_VALUES + 1 and votes.values[-1] == OTHERS
    assert votes.matrix.sum() == 398 and votes.agreeing.sum() == 199


def test_votes_are_shown(tmp_path: Path) -> None:
    write(
        tmp_path, [voted(1, "happy", ["happy", "sad", "happy"], "sad"), voted(2, "sad", ["sad", "sad", "sad"], "sad")]
    )
    text = cells(report(tmp_path, "emotion")[1])
    assert "83.3% of 6 votes on 2 faces" in text and "1 of 2 faces (50.0%)" in text
