"""Hard and soft voting over result files, joined on ids."""

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from command_line import facet
from hypothesis import given, settings
from hypothesis import strategies as st

from components.shared.dataset.label_spaces import label_space
from components.shared.dataset.predictions import PredictedFace, Predictions, write_predictions
from components.vote.vote import vote
from serving.runtime.errors import InputError

EIGHT = [f"mask{n}" for n in range(3)] + [f"gender{n}" for n in range(2)] + [f"age{n}" for n in range(3)]
SEVEN = ["m_out_0", "m_out_1", "m_out_2", "g_out", "a_out_0", "a_out_1", "a_out_2"]


def write(path: Path, header: list[str], rows: list[list[object]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def answers(path: Path, given: dict[str, int]) -> Path:
    return write(path, ["ImageID", "ans"], [[name, answer] for name, answer in given.items()])


def result(path: Path) -> dict[str, int]:
    with path.open() as file:
        return {row["ImageID"]: int(row["ans"]) for row in csv.DictReader(file)}


def table(path: Path, space: str, joint: np.ndarray, names: list[str]) -> Path:
    """A predictions table; `joint` are the probabilities of the heads side by side."""
    heads, start = {}, 0
    for head in label_space(space).heads:
        heads[head.name] = joint[:, start : start + len(head.labels)].astype(np.float32)
        start += len(head.labels)
    faces = tuple(PredictedFace(n, n, name, None) for n, name in enumerate(names, 1))
    write_predictions(Predictions(faces, heads, label_space(space), "m", "v"), path)
    return path


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_hard_takes_the_most_frequent_class_and_of_several_the_first_one_seen(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("hard")
    ids = [f"{n}.jpg" for n in range(5)]
    votes = data.draw(st.lists(st.lists(st.integers(0, 3), min_size=5, max_size=5), min_size=1, max_size=5))
    files = []
    for number, column in enumerate(votes):
        shuffled = data.draw(st.permutations(list(zip(ids, column, strict=True))))
        files.append(answers(folder / f"{number}.csv", dict(shuffled)))
    report = vote(files, folder / "out.csv", mode="hard")
    found = result(folder / "out.csv")
    first = [row["ImageID"] for row in csv.DictReader(files[0].open())]
    assert list(found) == first, "the rows are those of the first table, in its order"
    for index, name in enumerate(ids):
        column = [one[index] for one in votes]
        most = max(Counter(column).values())
        assert found[name] == next(one for one in column if column.count(one) == most)
    assert report.unanimous == sum(len({one[index] for one in votes}) == 1 for index in range(5))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_soft_adds_the_probabilities_of_each_attribute(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The predecessors' rule: sum over the files, the largest of each attribute, 6*mask + 3*gender + age."""
    folder = tmp_path_factory.mktemp("soft")
    ids = ["a.jpg", "b.jpg", "c.jpg"]
    files, total = [], np.zeros((3, 8))
    for number in range(data.draw(st.integers(1, 4))):
        seed = data.draw(st.integers(0, 2**32 - 1))
        draw = np.random.default_rng(seed)
        parts = [draw.dirichlet(np.ones(size), 3) for size in (3, 2, 3)]
        values = np.concatenate(parts, axis=1)
        form = data.draw(st.sampled_from(["eight", "seven", "ours"]))
        total += values
        order = data.draw(st.permutations(range(3)))
        if form == "ours":
            files.append(table(folder / f"{number}.csv", "all", values[order], [ids[n] for n in order]))
            continue
        header, chosen = (EIGHT, values) if form == "eight" else (SEVEN, np.delete(values, 3, axis=1))
        files.append(write(folder / f"{number}.csv", ["ImageID", *header], [[ids[n], *chosen[n]] for n in order]))
    vote(files, folder / "out.csv", mode="soft")
    best = 6 * total[:, :3].argmax(1) + 3 * total[:, 3:5].argmax(1) + total[:, 5:].argmax(1)
    assert [result(folder / "out.csv")[name] for name in ids] == best.tolist()


@pytest.mark.parametrize("label", range(18))
def test_every_class_comes_out_of_its_attributes(label: int, tmp_path: Path) -> None:
    mask, gender, age = label // 6, label % 6 // 3, label % 3
    values = np.concatenate([np.eye(3)[mask], np.eye(2)[gender], np.eye(3)[age]])
    eight = write(tmp_path / "8.csv", ["", "ImageID", *EIGHT], [[0, "x.jpg", *values]])  # with pandas' index
    seven = write(tmp_path / "7.csv", ["ImageID", "ans", *SEVEN], [["x.jpg", 9, *np.delete(values, 3)]])
    vote([eight, seven], tmp_path / "out.csv", mode="soft")
    assert result(tmp_path / "out.csv") == {"x.jpg": label}


def test_attributes_and_the_18_classes_vote_as_18_classes(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    joint = draw.dirichlet(np.ones(18), 2)
    parts = np.concatenate([draw.dirichlet(np.ones(size), 2) for size in (3, 2, 3)], axis=1)
    tables = [
        table(tmp_path / "18.csv", "mask_gender_age", joint, ["a", "b"]),
        table(tmp_path / "all.csv", "all", parts, ["a", "b"]),
    ]
    vote(tables, tmp_path / "out.csv", mode="soft")
    product = (parts[:, :3, None, None] * parts[:, None, 3:5, None] * parts[:, None, None, 5:]).reshape(2, 18)
    assert list(result(tmp_path / "out.csv").values()) == (joint + product).argmax(1).tolist()
    vote(tables, tmp_path / "hard.csv", mode="hard")
    assert list(result(tmp_path / "hard.csv").values()) == joint.argmax(1).tolist(), "a tie goes to the first table"


def test_faces_of_one_picture_are_told_apart(tmp_path: Path) -> None:
    one = table(tmp_path / "1.csv", "gender", np.array([[0.9, 0.1], [0.2, 0.8]]), ["a.jpg", "a.jpg"])
    two = table(tmp_path / "2.csv", "gender", np.array([[0.6, 0.4], [0.4, 0.6]]), ["a.jpg", "a.jpg"])
    vote([one, two], tmp_path / "out.csv", mode="soft")
    assert result(tmp_path / "out.csv") == {"a.jpg#1": 0, "a.jpg#2": 1}


ONE = [["a.jpg", 1], ["b.jpg", 2]]
FAULTS: dict[str, tuple[str, list[str], list[list[object]], str]] = {
    "missing": ("hard", ["ImageID", "ans"], [["a.jpg", 1]], "1 ids of .*one.csv are missing: b.jpg"),
    "extra": ("hard", ["ImageID", "ans"], [*ONE, ["c.jpg", 0]], "one.csv: 1 ids of .*other.csv are missing: c.jpg"),
    "double": ("hard", ["ImageID", "ans"], [*ONE, ["a.jpg", 1]], "other.csv: 1 ids occur twice in ImageID: a.jpg"),
    "no id": ("hard", ["ImageID", "ans"], [*ONE, ["", 1]], "1 rows have no ImageID: row 4"),
    "no number": ("hard", ["ImageID", "ans"], [["a.jpg", "young"], ["b.jpg", 1]], "row 2: 'young' in ans"),
    "no answers": ("hard", ["ImageID", *EIGHT], [["a.jpg", *[0.5] * 8]], "header with the columns ImageID, ans"),
    "too few columns": ("soft", ["ImageID", *EIGHT[:7]], [["a.jpg", *[0.5] * 7]], "other.csv: expected ImageID"),
    "a logit": ("soft", ["ImageID", *SEVEN], [["a.jpg", *[0.5] * 3, -2.5, *[0.5] * 3]], "'-2.5' in column 'g_out'"),
    "all zero": ("soft", ["ImageID", *EIGHT], [["a.jpg", 0, 0, 0, *[0.5] * 5]], "all probabilities of mask are 0"),
    "a short row": ("hard", ["ImageID", "ans"], [["a.jpg"], *ONE], "row 2 has 1 values"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_be_joined_is_one_error(fault: str, tmp_path: Path) -> None:
    mode, header, rows, message = FAULTS[fault]
    first = write(tmp_path / "one.csv", ["ImageID", "ans"], ONE)
    if mode == "soft":
        first = write(tmp_path / "one.csv", ["ImageID", *EIGHT], [["a.jpg", *[0.5] * 8]])
    other = write(tmp_path / "other.csv", header, rows)
    with pytest.raises(InputError, match=message):
        vote([first, other], tmp_path / "out.csv", mode=mode)
    assert not (tmp_path / "out.csv").exists()


def test_tables_of_other_classes_do_not_vote(tmp_path: Path) -> None:
    gender = table(tmp_path / "gender.csv", "gender", np.array([[0.9, 0.1]]), ["a"])
    mask = table(tmp_path / "mask.csv", "mask", np.array([[0.1, 0.2, 0.7]]), ["a"])
    for mode, message in (("soft", "several label spaces: gender .*, mask"), ("hard", "are not those of")):
        with pytest.raises(InputError, match=message):
            vote([gender, mask], tmp_path / "out.csv", mode=mode)
    with pytest.raises(InputError, match="class 2 is none of the 2 classes"):
        vote([gender, answers(tmp_path / "x.csv", {"a": 2})], tmp_path / "out.csv", mode="hard")
    with pytest.raises(InputError, match="is named twice"):
        vote([gender, tmp_path / "." / "gender.csv"], tmp_path / "out.csv", mode="hard")
    (tmp_path / "notes.txt").write_text("hello\nworld\n")
    for mode in ("hard", "soft"):
        with pytest.raises(InputError, match=r"notes\.txt: not a table"):
            vote([gender, tmp_path / "notes.txt"], tmp_path / "out.csv", mode=mode)
    with pytest.raises(InputError, match="the output would overwrite the input"):
        vote([gender], gender, mode="hard")


def test_the_step_votes(tmp_path: Path) -> None:
    first, second = answers(tmp_path / "1.csv", {"a": 3, "b": 1}), answers(tmp_path / "2.csv", {"b": 1, "a": 4})
    answer = facet("step", "vote", "--tables", first, "--tables", second, "--table", tmp_path / "out.csv")
    assert answer.returncode == 0, answer.stderr
    assert result(tmp_path / "out.csv") == {"a": 3, "b": 1}
    assert answer.stdout.split("\n")[:3] == ["rows: 2", "ties: 1", "unanimous: 1"]
