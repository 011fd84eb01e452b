"""The worst mistakes: a table, pictures, and where the model looked."""

import csv
from pathlib import Path

import numpy as np
import pytest
from html_page import Page
from labeled_faces import write_faces, write_pictures
from PIL import Image as Picture
from tiny_model import HEADS, build_looking_model, build_model, card_facts

from components.evaluate.evaluate import evaluate
from components.evaluate.mistakes import SHOWN
from components.shared.dataset.archive import OtherPictureError
from components.shared.explain.occlusion import RUNS
from serving.runtime.errors import InputError


def case(folder: Path, count: int = 40, model: Path | None = None) -> tuple[Path, Path]:
    """Half of the faces are wrong, a later one the surer."""
    attributes = [{"mask": "worn"}] * count
    surest = np.linspace(0.5, 0.9, count).tolist()
    return write_faces(folder, "mask", attributes, [n % 2 for n in range(count)], probabilities=surest, model=model)


def listed(folder: Path) -> list[dict[str, str]]:
    with (folder / "details/mistakes.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_model(folder: Path) -> Path:
    folder.mkdir()
    facts = card_facts(label_space="mask", heads=[{"name": "mask", "labels": HEADS["mask"]}])
    (folder / "model.onnx").write_bytes(build_model(facts))
    return folder


def test_the_surest_come_first_and_are_shown(tmp_path: Path) -> None:
    colors = [(n, 100, 200) for n in range(60)]
    evaluate(
        *case(tmp_path, 60), tmp_path / "report", details=tmp_path / "details",
        images=write_pictures(tmp_path / "images", colors),
    )  # fmt: skip
    rows = listed(tmp_path)
    assert [row["path"] for row in rows] == [f"{n}.png" for n in range(59, 59 - 2 * SHOWN, -2)]
    assert {(row["truth"], row["prediction"]) for row in rows} == {("worn", "incorrect")}
    assert float(rows[0]["probability"]) == pytest.approx(0.9) and rows[0]["width"] == "40.000000"
    page = Page((tmp_path / "report").read_text())
    assert page.faults == [] and len(page.sources) == SHOWN
    assert all(source.startswith("data:image/jpeg;base64,") for source in page.sources)
    assert "30 faces of 60 have a wrong class; these are the 24 with the highest probability." in "".join(page.text)
    sheet = np.asarray(Picture.open(tmp_path / "details/mistakes.png"))
    assert np.abs(sheet[74, 74].astype(int) - colors[59]).max() <= 1, "the first picture"


def test_where_the_model_looked_is_beside_the_face(tmp_path: Path) -> None:
    alone, explained = tmp_path / "alone", tmp_path / "explained"
    pictures = write_pictures(tmp_path / "images", [(n, 100, 200) for n in range(40)])
    sizes = []
    for folder, model in ((alone, None), (explained, write_model(tmp_path / "model"))):
        folder.mkdir()
        evaluate(
            *case(folder, model=model), folder / "report", details=folder / "details", images=pictures, model=model
        )
        page = (folder / "report").read_text()
        assert ("where the model looked" in page) == (model is not None)
        assert len(page) < 2_000_000
        sizes.append(Picture.open(folder / "details/mistakes.png").width)
    assert sizes[1] > sizes[0]


def test_the_size_of_the_input_decides_how_many_are_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No clock does: equal inputs give equal bytes. Of a model with a feature map all are, by one run each."""
    height, width = 40, 32
    monkeypatch.setattr("components.evaluate.mistakes.PIXELS", 6 * RUNS * height * width)
    pictures = write_pictures(tmp_path / "images", [(9, 9, 9)] * 40)
    model = write_model(tmp_path / "model")
    pages = []
    for name in ("one", "two"):
        evaluate(*case(tmp_path, model=model), tmp_path / name, images=pictures, model=model)
        pages.append((tmp_path / name).read_bytes())
    assert pages[0] == pages[1] and len(Page(pages[0].decode()).sources) == 20
    assert "14 of 20 mistakes are shown without where the model looked: at 40 x 32 pixels" in caplog.text
    assert "covering what is yellow lowers" in pages[0].decode()
    caplog.clear()
    content = build_looking_model((slice(0, 10), slice(0, 32)), features=True)
    (model / "model.onnx").write_bytes(content)
    evaluate(*case(tmp_path, model=model), tmp_path / "three", images=pictures, model=model)
    page = (tmp_path / "three").read_text()
    assert "At the right is where the model responded, whatever the answer" in page and "covering" not in page
    assert "without where the model looked" not in caplog.text


def test_without_pictures_the_table_is_written_and_the_page_says_so(tmp_path: Path) -> None:
    evaluate(*case(tmp_path), tmp_path / "report", details=tmp_path / "details")
    assert len(listed(tmp_path)) == 20 and not (tmp_path / "details/mistakes.png").exists()
    page = (tmp_path / "report").read_text()
    assert "There are no pictures: evaluate once more with the photos as images" in page and "<img" not in page


def test_a_picture_that_cannot_be_read_is_named_and_another_one_refused(tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path / "images", [(9, 9, 9)] * 40)
    (pictures / "39.png").write_bytes(b"not a picture")
    evaluate(*case(tmp_path), tmp_path / "report", details=tmp_path / "details", images=pictures)
    page = Page((tmp_path / "report").read_text())
    assert "Not shown: 39.png: " in "".join(page.text) and len(page.sources) == 19
    (pictures / "39.png").unlink()
    with pytest.raises(InputError, match=r"1 images of the annotations are not in the image archive \(39\.png\)"):
        evaluate(*case(tmp_path), tmp_path / "report", images=pictures)
    other = tmp_path / "other"
    other.mkdir()
    attributes = [{"mask": "worn"}] * 2
    paths = write_faces(other, "mask", attributes, [1, 0], sha256=["0" * 64] * 2)
    text = paths[0].read_text().replace(",classification,1,,,", f",classification,1,{'0' * 64},,")
    paths[0].write_text(text)
    write_pictures(other / "images", [(1, 2, 3)] * 2)
    with pytest.raises(OtherPictureError, match=r"0\.png"):
        evaluate(*paths, other / "report", images=other / "images")


def test_nothing_is_wrong(tmp_path: Path) -> None:
    evaluate(
        *write_faces(tmp_path, "mask", [{"mask": "worn"}] * 3, [0, 0, 0]), tmp_path / "report",
        details=tmp_path / "details", images=write_pictures(tmp_path / "images", [(1, 1, 1)] * 3),
    )  # fmt: skip
    assert "There are none: every face has its true class." in (tmp_path / "report").read_text()
    assert listed(tmp_path) == [] and not (tmp_path / "details/mistakes.png").exists()
