import csv
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from components.shared.dataset.label_spaces import LABEL_SPACES, label_space
from components.shared.dataset.predictions import (
    PredictedFace,
    Predictions,
    read_predictions,
    write_predictions,
)
from serving.runtime.errors import InputError, NotFoundError
from serving.runtime.notice import Notice


def drawn(space_name: str, count: int = 7, seed: int = 0) -> Predictions:
    space, rng = label_space(space_name), np.random.default_rng(seed)
    faces = tuple(
        PredictedFace(
            i,
            10 + i,
            f"a, b/é {i}.jpg",
            None if i % 3 else (0.1, 2.0, 30.25, 1 / 3),
            None if i % 4 else f"{i:064x}",
            None if i % 2 else i / 7,
            None if i % 5 else 12.25 * i,
        )
        for i in range(count)
    )
    heads = {h.name: rng.dirichlet(np.ones(len(h.labels)), count).astype(np.float32) for h in space.heads}
    return Predictions(faces, heads, space, "model", "0123456789ab", "fedc")


@pytest.mark.parametrize("space", [*LABEL_SPACES, "hat:cap,helmet,none"])
def test_what_is_written_is_read(space: str, tmp_path: Path) -> None:
    before = drawn(space)
    write_predictions(before, tmp_path / "p.csv")
    after = read_predictions(tmp_path / "p.csv")
    assert after.faces == before.faces and after.space == before.space
    assert (after.model, after.version, after.images_digest) == ("model", "0123456789ab", "fedc")
    for name, values in before.heads.items():
        assert after.heads[name].dtype == np.float32 and (after.heads[name] == values).all()
    write_predictions(after, tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "p.csv").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.csv", "p.csv"]


@settings(max_examples=50, deadline=None)
@given(arrays(np.float32, (3, 2), elements=st.floats(0, 1, width=32)))
def test_every_float32_survives(tmp_path_factory: pytest.TempPathFactory, values: np.ndarray) -> None:
    path = tmp_path_factory.mktemp("floats") / "p.csv"
    base = drawn("gender", 3)
    write_predictions(Predictions(base.faces, {"gender": values}, base.space, "m", "v"), path)
    assert (read_predictions(path).heads["gender"] == values).all()


def test_columns_label_and_score(tmp_path: Path) -> None:
    space = label_space("all")
    heads = {
        "mask": np.array([[0.1, 0.7, 0.2]], np.float32),
        "gender": np.array([[0.25, 0.75]], np.float32),
        "age": np.array([[0.5, 0.3, 0.2]], np.float32),
    }
    faces = (PredictedFace(4, 9, "x.png", (1.0, 2.0, 3.0, 4.5), score=0.875),)
    write_predictions(Predictions(faces, heads, space, "m", "v"), tmp_path / "p.csv")
    (row,) = csv.DictReader((tmp_path / "p.csv").open(encoding="utf-8"))
    assert list(row)[:6] == ["image_id", "face_id", "path", "x", "y", "width"]
    assert list(row)[6:10] == ["height", "detector_score", "label", "score"]
    assert list(row)[10:18] == [f"{head.name}/{label}" for head in space.heads for label in head.labels]
    assert list(row)[18:21] == ["model", "version", "label_space"]
    assert list(row)[21:] == ["task", "class_id", "sha256", "images_digest", "brightness"]
    assert row["class_id"] == str(6 * 1 + 3 * 1 + 0)
    assert row["label"] == "incorrect/female/<30" and float(row["score"]) == pytest.approx(0.7 * 0.75 * 0.5)
    assert [row[k] for k in ("x", "y", "width", "height", "detector_score")] == ["1.0", "2.0", "3.0", "4.5", "0.875"]
    assert row["mask/incorrect"] == "0.7" and (row["label_space"], row["task"]) == ("all", "classification")


@pytest.mark.parametrize("lacking", [1, 2, 3, 4, 5])
def test_a_table_of_an_earlier_version_is_read(lacking: int, tmp_path: Path) -> None:
    """Columns were added at the end, in this order: task, class_id, sha256, images_digest, brightness."""
    written = drawn("all")
    write_predictions(written, tmp_path / "p.csv")
    text = (tmp_path / "p.csv").read_text(encoding="utf-8")
    (tmp_path / "old.csv").write_text(re.sub(rf"(,[^,\n]*){{{lacking}}}\n", "\n", text), encoding="utf-8")
    old = read_predictions(tmp_path / "old.csv")
    assert old.task == "classification"
    assert (old.images_digest == "") == (lacking > 1)
    assert [face.path for face in old.faces] == [face.path for face in written.faces]
    assert any(face.sha256 for face in old.faces) == (lacking < 3)
    gone = {"brightness": None} | ({"sha256": None} if lacking > 2 else {})
    without = replace(written, faces=tuple(replace(face, **gone) for face in written.faces))
    if lacking > 1:
        without = replace(without, images_digest="")
    write_predictions(old, tmp_path / "again.csv")
    write_predictions(without, tmp_path / "without.csv")
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "without.csv").read_bytes()


def noticed() -> Predictions:
    """Probabilities of masks with what is said of each face."""
    table = drawn("mask", 3)
    notices = (Notice(False, None, 0.25), Notice(True, "absent", 0.75), Notice(True, "incorrect", 1.0))
    return replace(table, notices=notices)


def test_a_model_that_judges_masks_has_three_columns_more(tmp_path: Path) -> None:
    table = noticed()
    write_predictions(table, tmp_path / "p.csv")
    rows = list(csv.DictReader((tmp_path / "p.csv").open(encoding="utf-8")))
    assert list(rows[0])[-4:] == ["brightness", "notify", "notify_reason", "notify_confidence"]
    assert [list(row.values())[-3:] for row in rows] == [
        ["false", "", "0.25"],
        ["true", "absent", "0.75"],
        ["true", "incorrect", "1.0"],
    ]
    read = read_predictions(tmp_path / "p.csv")
    assert isinstance(read, Predictions) and read.notices == table.notices and read.faces == table.faces
    write_predictions(read, tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "p.csv").read_bytes()
    lines = (tmp_path / "p.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "old.csv").write_text("".join(re.sub(r"(,[^,\n]*){3}\n", "\n", line) for line in lines), "utf-8")
    write_predictions(replace(table, notices=None), tmp_path / "without.csv")
    assert (tmp_path / "old.csv").read_bytes() == (tmp_path / "without.csv").read_bytes()
    old = read_predictions(tmp_path / "old.csv")
    assert isinstance(old, Predictions) and old.notices is None and old.faces == table.faces


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",true,absent", ",yes,absent", "notify 'yes' and notify_reason 'absent'; expected true or false"),
        (",true,absent", ",true,late", "notify_reason 'late'"),
        (",0.75\n", ",high\n", "could not convert string to float: 'high'"),
        (",notify_reason", "", "line 2 has"),
        (",notify_reason", ",reason", "label space 'mask': no column notify_reason, unexpected column reason;"),
    ],
)
def test_notices_that_cannot_be_read(old: str, new: str, message: str, tmp_path: Path) -> None:
    write_predictions(noticed(), tmp_path / "p.csv")
    (tmp_path / "p.csv").write_text((tmp_path / "p.csv").read_text(encoding="utf-8").replace(old, new, 1), "utf-8")
    with pytest.raises(InputError, match=message):
        read_predictions(tmp_path / "p.csv")


def spoil_header(text: str) -> str:
    return text.replace("face_id", "face", 1)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda text: "", "no predictions"),
        (lambda text: text.splitlines()[0], "no predictions"),
        (spoil_header, "no column face_id, unexpected column face;"),
        (
            lambda text: text.replace("gender/male", "gender/man", 1),
            "no column gender/male, unexpected column gender/man;",
        ),
        (lambda text: text.replace(",gender,class", ",nonsense,class"), "nonsense"),
        (lambda text: text.replace(",classification,", ",poses,"), "unknown task 'poses'; known: classification"),
        (lambda text: text.replace(",fedc,", ",abcd,", 1), "column 'images_digest' has several values"),
        (lambda text: text.replace(",sha256,", ",sha512,", 1), "label space 'gender'"),
        (lambda text: text.replace("0123456789ab", "other", 1), "column 'version' has several values"),
        (lambda text: text + "1,2\n", "line 9 has 2 values"),
        (lambda text: text.replace("\n1,11", "\nx,11", 1), "invalid literal"),
    ],
)
def test_a_damaged_table_is_refused(spoil, message: str, tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    write_predictions(drawn("gender"), path)
    path.write_text(spoil(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_predictions(path)


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="nothing"):
        read_predictions(tmp_path / "nothing.csv")
