"""From VOC files with three mask states to the labels of a detector of two: masked and bare."""

from collections import Counter

import pytest
import yaml

from components.curate.curate import curate
from components.export_dataset.export_dataset import export_dataset
from components.ingest.ingest import ingest
from components.shared.dataset.annotations import read_annotations, write_annotations
from components.split.split import split
from pipelines.samples.groups import draw_groups

CONFIG = yaml.safe_load("""
format: voc
ingest_options:
  attribute: mask
  values: {mask: {incorrect_mask: absent}} # a mask that is worn wrongly counts as a bare face
label_space: mask:worn,absent
val_ratio: 0.2
test_ratio: 0.2
""")
WORDS = ("with_mask", "without_mask", "incorrect_mask")


def _object(box, word):
    corners = (box[0], box[1], box[0] + box[2], box[1] + box[3])
    sides = "".join(
        f"<{side}>{at}</{side}>" for side, at in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
    )
    return f"<object><name>face</name><attribute>{word}</attribute><bndbox>{sides}</bndbox></object>"


@pytest.fixture(scope="module")
def voc(tmp_path_factory):
    """Drawn groups in VOC: every third face masked, bare, or with a mask that is worn wrongly; one is not known."""
    folder = tmp_path_factory.mktemp("voc") / "raw"
    draw_groups(folder, persons=60)
    words = {}
    drawn = read_annotations(folder / "annotations.json").images
    for image in drawn:
        for face in image.faces:
            words[face.id] = WORDS[face.id % 3] if face.id != 1 else "unspecified"
        size = f"<size><width>{image.width}</width><height>{image.height}</height><depth>3</depth></size>"
        objects = "".join(_object(face.box, words[face.id]) for face in image.faces)
        name = image.file_name.removeprefix("images/")
        file = folder / "annotations" / name.replace(".jpg", ".xml")
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"<annotation><filename>{name}</filename>{size}{objects}</annotation>")
    (folder / "annotations.json").unlink()
    return folder, drawn, words


def test_two_classes_of_three_mask_states(voc, tmp_path):
    raw, drawn, words = voc
    images, everything = tmp_path / "images", tmp_path / "all.json"
    ingest(str(raw), images, everything, format=CONFIG["format"], options=CONFIG["ingest_options"])
    data = read_annotations(everything)
    assert data.info.lost == {"bad_mask": 1}
    # Two parts of the annotations, as of two people who label, become one data set again.
    half = len(data.images) // 2
    for name, part in (("here", data.images[:half]), ("there", data.images[half:])):
        write_annotations(type(data)(part, data.info), tmp_path / f"{name}.json")
    curate(tmp_path / "here.json", tmp_path / "both.json", [{"merge": {"annotations": str(tmp_path / "there.json")}}])
    ratios = {name: CONFIG[name] for name in ("val_ratio", "test_ratio")}
    split(tmp_path / "both.json", tmp_path / "split.json", label_space=CONFIG["label_space"], **ratios)
    report = export_dataset(
        images,
        tmp_path / "split.json",
        tmp_path / "tree",
        layout="yolo_detection",
        label_space=CONFIG["label_space"],
        options={"classes": "label_space"},
    )
    assert yaml.safe_load((tmp_path / "tree/yolo-dataset.yaml").read_text())["names"] == {0: "worn", 1: "absent"}
    assert report.left_out == {"unlabeled_face": 1}
    assert set(report.images) == {"train", "val", "test"}
    (left_out,) = (image.file_name for image in data.images if any(not face.attributes for face in image.faces))
    expected = Counter(
        "0" if words[face.id] == "with_mask" else "1"
        for image in drawn
        if image.file_name != left_out
        for face in image.faces
    )
    rows = [row for file in (tmp_path / "tree/labels").rglob("*.txt") for row in file.read_text().splitlines()]
    assert Counter(row.split()[0] for row in rows) == expected
