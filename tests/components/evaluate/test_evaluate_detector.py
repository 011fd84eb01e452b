"""Evaluation of a detector, from the predictions of drawn photos to the report."""

import base64
import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from green_faces import SIZE, green_photo, write_detector, write_photos
from html_page import Page
from kfp import dsl
from PIL import Image as Picture
from PIL import ImageColor

from components.evaluate.component import evaluate as door
from components.evaluate.detection_report import FOUND as YELLOW
from components.evaluate.detection_report import SECOND, SUBJECT, TRUE
from components.evaluate.evaluate import Evaluation, evaluate
from components.predict.predict import predict
from components.shared.dataset.annotations import (
    Annotations,
    DetectionRecord,
    Face,
    Image,
    read_annotations,
    write_annotations,
)
from components.shared.dataset.detections import Detections, FoundBoxes, SearchedImage, write_detections
from components.shared.dataset.info import DatasetInfo
from components.shared.metrics.true_boxes import annotated_box
from serving.runtime.errors import InputError

SIZES = {"under_24", "24_to_48", "48_to_96", "from_96"}
Row = tuple[float, ...]


class Case:
    """Photos with annotated faces and found boxes, each x, y, width, height and for found ones a score and a label."""

    def __init__(self, folder: Path, labels: Sequence[str] = ("face",), space: str = "") -> None:
        self.folder, self.labels, self.space = folder, tuple(labels), space
        self.images: list[Image] = []
        self.found: list[SearchedImage] = []
        self.photos: dict[str, bytes] = {}
        self.info: dict[str, Any] = {}

    def add(self, faces: Sequence[Face | Row], found: Sequence[Row] = (), name: str = "", **facts: Any) -> None:
        number = len(self.images) + 1
        name = name or f"{number}.png"
        known = [
            replace(face, id=100 * number + k) if isinstance(face, Face) else Face(100 * number + k, face, {})  # type: ignore[arg-type]
            for k, face in enumerate(faces)
        ]
        self.images.append(Image(number, name, SIZE[1], SIZE[0], tuple(known), **({"split": "test"} | facts)))
        scores = np.zeros((len(found), len(self.labels)), np.float32)
        for row, box in enumerate(found):
            scores[row, int(box[5]) if len(box) > 5 else 0] = box[4]
        boxes = np.array([box[:4] for box in found], float).reshape(-1, 4)
        boxes_found = FoundBoxes(boxes, scores, scores.argmax(axis=1))
        self.found.append(SearchedImage(number, name, boxes_found, boxes_found))

    def write(self) -> tuple[Path, Path, Path]:
        info = DatasetInfo.model_validate(self.info)
        write_annotations(Annotations(tuple(self.images), info), self.folder / "a.json")
        table = Detections(tuple(self.found), self.labels, self.space, 0.5, "green <b>", "abcdef012345")
        write_detections(table, self.folder / "p.csv")
        return self.folder / "p.csv", self.folder / "a.json", self.folder / "report"

    def run(self, **options: Any) -> Evaluation:
        return evaluate(*self.write(), **options)

    @property
    def page(self) -> str:
        text = (self.folder / "report").read_text(encoding="utf-8")
        assert Page(text).faults == []
        return re.sub(r"\s+", " ", text)


def usual(folder: Path) -> Case:
    """Three faces, of which two are found, and a false alarm."""
    case = Case(folder)
    case.add([(10, 10, 40, 50), (100, 100, 20, 30)], [(10, 10, 40, 50, 0.9), (200, 20, 60, 60, 0.8)])
    case.add([(50, 50, 100, 120)], [(50, 50, 100, 120, 0.7)])
    case.add([])
    return case


def test_metrics_of_found_missed_and_false_boxes(tmp_path: Path) -> None:
    result = usual(tmp_path).run()
    known = {"precision": 2 / 3, "recall": 2 / 3, "false_positives": 1 / 3, "recall_under_24": 0.0}
    known |= {"recall_24_to_48": 1.0, "recall_from_96": 1.0, "map50_from_24": result.metrics["map50_from_24"]}
    assert known.items() <= {name: pytest.approx(value) for name, value in result.metrics.items()}.items()
    assert set(result.metrics) == {"map50", "map50_95", "precision", "recall", "false_positives", "map50_from_24"} | {
        f"{figure}_{size}" for figure in ("map50", "recall") for size in SIZES - {"48_to_96"}
    }
    assert (result.labels, result.confusion, result.passed) == (("face", "no face"), [[2, 1], [1, 0]], True)
    assert all(type(value) is float for value in result.metrics.values())


def test_the_files_of_a_detector(tmp_path: Path) -> None:
    """Metrics with intervals by photo, the labels, the sizes and the curve; what has no value is empty."""
    case = usual(tmp_path)
    result = case.run(details=tmp_path / "one")
    case.run(details=tmp_path / "two")
    names = {path.name for path in (tmp_path / "one").iterdir()}
    assert names == {"metrics.json", "classes.csv", "slices.csv", "curves.csv", "confusion.png",
                     "confusion_normalized.png"}  # fmt: skip
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    values = json.loads((tmp_path / "one/metrics.json").read_text())["metrics"]
    for name in ("map50", "map50_from_24"):
        assert values[name] == result.metrics[name]
        assert 0 <= values[f"{name}_low"] <= values[name] <= values[f"{name}_high"] <= 1
    assert "bootstrap over 3 photos" in case.page

    def table(name: str) -> list[dict[str, str]]:
        with (tmp_path / "one" / name).open(newline="") as file:
            return list(csv.DictReader(file))

    (face,) = table("classes.csv")
    assert (face["label"], face["faces"], face["found"], face["false"]) == ("face", "3", "2", "1")
    assert float(face["ap50"]) == pytest.approx(result.metrics["map50"], abs=1e-6)
    sizes = {row["value"]: (row["faces"], row["found"], row["recall"]) for row in table("slices.csv")}
    assert sizes["from_96"] == ("1", "1", "1.000000") and sizes["under_24"] == ("1", "0", "0.000000")
    assert sizes["48_to_96"] == ("0", "0", "")
    curve = table("curves.csv")
    assert len(curve) == 101 and np.mean([float(row["y"]) for row in curve]) == pytest.approx(
        float(face["ap50"]), abs=1e-5
    )
    case.run(details=tmp_path / "without", resamples=0)
    assert "map50_low" not in json.loads((tmp_path / "without/metrics.json").read_text())["metrics"]


def test_a_metric_without_a_denominator_is_left_out_and_the_report_says_so(tmp_path: Path) -> None:
    case = Case(tmp_path)
    case.add([(10, 10, 20, 20)], [(10, 10, 20, 20, 0.3)])
    result = case.run(floors={"precision": 0.1, "map50_from_24": 0.1, "map50": 0.9})
    assert {"precision", "map50_from_24"}.isdisjoint(result.metrics) and result.metrics["map50"] == pytest.approx(1)
    assert result.missed == ("map50_from_24", "precision"), "what has no value holds no floor"
    assert "Precision has no value; its floor is 0.1." in case.page
    assert "precision" in case.page[case.page.index("Without a value") :]
    json.dumps(result.metrics, allow_nan=False)


@pytest.mark.parametrize("name", ["map_50", "false_positives", "map50_under_24", "macro_f1"])
def test_a_floor_names_one_of_the_known_metrics(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"floors: .*'{name}'.*known: map50, map50_95, map50_from_24, pre"):
        usual(tmp_path).run(floors={name: 0.5})


def test_floors_of_a_detector(tmp_path: Path) -> None:
    case = usual(tmp_path)
    assert case.run(floors={"recall": 0.6, "map50_95": 0.1}).passed
    failed = case.run(floors={"recall": 0.9, "map50": 0.1})
    assert failed.missed == ("recall",) and "✗ Failed. Recall 0.6667 is below 0.9." in case.page


def test_labels_come_from_the_label_space(tmp_path: Path) -> None:
    case = Case(tmp_path, ("worn", "incorrect", "absent"), "mask")
    boxes = [(10.0 + 60 * n, 10.0, 30.0, 30.0) for n in range(4)]
    states: list[dict[str, Any]] = [{"mask": "worn"}, {"mask": "absent"}, {"gender": "male"}, {"mask": "worn"}]
    found = [(*boxes[0], 0.9, 0), (*boxes[1], 0.8, 0), (*boxes[2], 0.95, 1)]
    case.add([Face(1, box, state) for box, state in zip(boxes, states, strict=True)], found)
    result = case.run()
    assert result.labels == ("worn", "incorrect", "absent", "no face")
    assert result.confusion == [[1, 0, 0, 1], [0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert result.metrics["ap50_absent"] == 0 and "ap50_incorrect" not in result.metrics
    assert result.metrics["map50"] == pytest.approx((result.metrics["ap50_worn"] + 0) / 2)
    assert "1 face: nothing is missed or false there" in case.page
    # Recall by attribute does not ask for the label; the face without a class is no face of the test.
    assert re.search(r"<td class=\"text\">mask</td><td class=\"text\">absent</td><td>1</td><td>1.000", case.page)
    assert '<i class="key series-0"></i>worn</span>' in case.page and '<i class="key series-1"></i>absent' in case.page
    case.labels = ("absent", "worn", "incorrect")
    with pytest.raises(InputError, match="absent, worn, incorrect, are not those of label space 'mask'"):
        case.run()


def test_a_detector_of_several_labels_without_a_label_space_finds_faces(tmp_path: Path) -> None:
    case = Case(tmp_path, ("masked", "bare"))
    case.add([(10, 10, 30, 30)], [(10, 10, 30, 30, 0.9, 1)])
    result = case.run()
    assert result.metrics["map50"] == pytest.approx(1) and result.labels == ("face", "no face")


FOUND = DetectionRecord("yunet", 1)


@pytest.mark.parametrize(
    ("face", "record", "truth"),
    [
        (Face(1, (1, 2, 30, 40), {}), None, (1, 2, 30, 40)),
        (Face(1, None, {}), None, None),
        (Face(1, (1, 2, 30, 40), {}), DetectionRecord("annotations", 0), (1, 2, 30, 40)),
        (Face(1, (5, 5, 9, 9), {}, None, 0.9, (1, 2, 30, 40)), FOUND, (1, 2, 30, 40)),
        (Face(1, (5, 5, 9, 9), {}, None, 0.9), FOUND, None),
        (Face(1, (5, 5, 9, 9), {}, None, None, (1, 2, 30, 40)), DetectionRecord("person_mean"), (1, 2, 30, 40)),
        (Face(1, (5, 5, 9, 9), {}), DetectionRecord("person_mean"), None),
        (Face(1, (5, 5, 9, 9), {}), DetectionRecord("a table of boxes", 1), None),
        (Face(1, None, {}), DetectionRecord("whole_image"), None),
    ],
)
def test_only_boxes_that_were_annotated_are_truth(
    face: Face, record: DetectionRecord | None, truth: tuple[int, ...] | None
) -> None:
    assert annotated_box(Image(1, "a.png", 90, 90, (face,), detection=record), face) == truth


def test_a_box_that_a_face_kept_beside_found_ones_is_truth() -> None:
    found, kept = Face(1, (5, 5, 9, 9), {}, None, 0.9), Face(2, (50, 5, 9, 9), {})
    image = Image(1, "a.png", 90, 90, (found, kept), detection=FOUND)
    assert [annotated_box(image, face) for face in image.faces] == [None, (50, 5, 9, 9)]


def test_boxes_of_detectors_are_no_truth_and_the_report_says_so(tmp_path: Path) -> None:
    """Nothing is false where a face without an annotated box may be: where a detector found it, else anywhere."""
    case = Case(tmp_path)
    case.info = {"detection": {"detectors": ["yunet"]}}
    moved = Face(1, (12, 12, 40, 50), {}, None, 0.9, (10, 10, 40, 50))
    case.add([moved, Face(2, (100, 100, 30, 30), {}, None, 0.8)], [(10, 10, 40, 50, 0.9), (102, 101, 26, 26, 0.8)],
             detection=FOUND)  # fmt: skip
    case.add([Face(3, None, {})], [(10, 10, 40, 50, 0.9)])
    case.add([], [(10, 10, 40, 50, 0.6)])
    result = case.run()
    assert (result.metrics["recall"], result.metrics["precision"]) == (1.0, 0.5)
    assert "went through choose_faces" in case.page and "(yunet) are no truth" in case.page
    assert "2 faces: nothing is missed or false there" in case.page
    case.images = [replace(case.images[0], faces=case.images[0].faces[1:]), *case.images[1:]]
    with pytest.raises(InputError, match="none of the 2 faces in the 3 searched images has an annotated box"):
        case.run()


def test_images_must_be_those_of_the_annotations(tmp_path: Path) -> None:
    case = usual(tmp_path)
    case.add([(1, 1, 30, 30)], split="train")
    train, lost = case.found.pop(), case.found.pop()
    with pytest.raises(InputError, match=r"1 images are in the annotations, but not predicted: 3.png"):
        case.run()
    case.run(max_missing=1)
    assert "1 image left out" in case.page and "4.png" not in case.page
    case.found += [lost, replace(train, image_id=9)]
    with pytest.raises(InputError, match=r"1 images are predicted, but not in the annotations: 4.png"):
        case.run()
    case.found[-1] = replace(train, path="other.png")
    with pytest.raises(InputError, match="1 of 4 predicted images are others.*'other.png' in the predictions"):
        case.run()
    (tmp_path / "gt.csv").write_text("ImageID,ans\n1.png,0\n")
    with pytest.raises(InputError, match="gt.csv: a table of class numbers has no boxes"):
        evaluate(tmp_path / "p.csv", tmp_path / "gt.csv", tmp_path / "report")


def many(folder: Path, hostile: str = "") -> Case:
    """More misses and false alarms than are shown, in photos that exist."""
    case = Case(folder)
    for number in range(40):
        name, truth = f"p{number}{hostile}.png", (10 + number, 20, 24 + 2 * number, 30 + number)
        case.add([Face(1, truth, {"mask": "worn" if number % 3 else "absent", "age": 20 + number})],  # type: ignore[arg-type]
                 [(200, 100, 30 + number, 40, 0.5 + number / 100)], name=name)  # fmt: skip
        case.photos[name] = green_photo([truth])
    return case


def test_the_report_shows_the_surest_false_alarms_and_the_largest_misses(tmp_path: Path) -> None:
    case = many(tmp_path)
    write_photos(tmp_path, case.photos, {})
    for image in read_annotations(tmp_path / "a.json").images:
        case.images[image.id - 1] = replace(case.images[image.id - 1], sha256=image.sha256)
    case.run(images=tmp_path / "images")
    text = (tmp_path / "report").read_text()
    page = Page(text)
    assert page.faults == [] and len(text.encode()) < 2_000_000
    assert len(page.sources) == 48 and all(source.startswith("data:image/jpeg;base64,") for source in page.sources)
    misses, false = (case.page.split(title)[1] for title in ("Largest misses", "Surest false alarms"))
    assert "40 at the threshold 0.5; the 24 largest." in misses and "40 at the threshold 0.5; the 24 surest." in false
    names = [re.findall(r'alt="(p\d+).png"', part) for part in (misses.split("Surest false")[0], false)]
    assert names[1] == [f"p{number}" for number in range(39, 15, -1)]
    assert set(names[0]) == {f"p{number}" for number in range(16, 40)}
    assert "score 0.89" in false and "not found" in misses
    first = text
    case.run(images=tmp_path / "images")
    assert (tmp_path / "report").read_text() == first, "equal inputs, equal bytes"
    case.run()
    assert Page(case.page).sources == [] and "facet step evaluate --images" in case.page
    with pytest.raises(InputError, match="1 images of the annotations are not in the image archive"):
        (tmp_path / "few").mkdir()
        write_photos(tmp_path / "few", {n: d for n, d in case.photos.items() if n != "p3.png"}, {})
        case.run(images=tmp_path / "few" / "images")


def test_a_second_box_on_a_found_face_is_named_and_the_boxes_in_question_stand_out(tmp_path: Path) -> None:
    case = Case(tmp_path)
    truth, second, elsewhere = (40, 40, 60, 60), (48, 44, 60, 60), (180, 100, 40, 40)
    case.add([truth, (190, 10, 24, 24)], [(43, 41, 60, 60, 0.9), (*second, 0.8), (*elsewhere, 0.7)], name="a.png")
    case.photos["a.png"] = green_photo([truth])
    write_photos(tmp_path, case.photos, {})
    case.images = [replace(case.images[0], sha256=read_annotations(tmp_path / "a.json").images[0].sha256)]
    case.run(images=tmp_path / "images")
    misses, false = case.page.split("Largest misses")[1].split("Surest false alarms")
    assert false.count(SECOND) == 1 and false.index(SECOND) < false.index("score 0.70") and SECOND not in misses
    for part, seen in ((misses, [SUBJECT]), (false, [SUBJECT, YELLOW, TRUE])):
        uri = re.search(r"data:image/jpeg;base64,([^\"]+)", part)
        assert uri
        pixels = np.asarray(Picture.open(io.BytesIO(base64.b64decode(uri[1]))).convert("RGB"), int)
        for color in seen:
            apart = np.abs(pixels - ImageColor.getrgb(color)).max(axis=2)
            assert (apart < 40).sum() > 50, color


@pytest.mark.parametrize(("attributes", "shown"), [({"mask": "worn"}, True), ({"bg_uploader": "street"}, False)])
def test_attributes_of_label_spaces_have_a_row(attributes: dict[str, Any], shown: bool, tmp_path: Path) -> None:
    case = Case(tmp_path)
    case.add([Face(1, (10, 10, 40, 50), attributes)], [(10, 10, 40, 50, 0.9)])
    case.run()
    assert ("Attributes of the faces" in case.page) is shown
    assert all((f'<td class="text">{name}</td>' in case.page) is shown for name in attributes)


def test_hostile_names_are_text_on_the_page(tmp_path: Path) -> None:
    case = many(tmp_path, "<img src=x>")
    case.info = {"leaks": True, "detection": {"detectors": ["<script>"]}}
    write_photos(tmp_path, case.photos, {})
    case.run(images=tmp_path / "images")
    assert "<img src=x" not in case.page and "<script" not in case.page and "<b>" not in case.page
    assert case.page.index("These metrics leak.") < case.page.index('class="tile"')


def test_from_drawn_photos_to_metrics_by_the_components(tmp_path: Path) -> None:
    """A detector that finds everything; the door gives what KFP takes."""
    boxes = {"a.png": [(10, 20, 30, 40), (100, 60, 60, 50)], "b.png": [], "c.png": [(5, 5, 100, 110)]}
    ids = iter(range(1, 9))
    faces = {name: [Face(next(ids), tuple(map(float, box)), {}) for box in rows] for name, rows in boxes.items()}  # type: ignore[arg-type]
    write_photos(tmp_path, {name: green_photo(rows) for name, rows in boxes.items()}, faces)
    model = write_detector(tmp_path / "model")
    predict(model, tmp_path / "images", tmp_path / "a.json", tmp_path / "p.csv")
    metrics, confusion = dsl.Metrics(uri=str(tmp_path / "m")), dsl.ClassificationMetrics(uri=str(tmp_path / "c"))
    passed, metrics_json = door.python_func(
        predictions=dsl.Dataset(uri=str(tmp_path / "p.csv")),
        annotations=dsl.Dataset(uri=str(tmp_path / "a.json")),
        metrics=metrics,
        confusion=confusion,
        report=dsl.HTML(uri=str(tmp_path / "report")),
        details=dsl.Artifact(uri=str(tmp_path / "details")),
        images=dsl.Dataset(uri=str(tmp_path / "images")),
        floors={"map50": 0.99, "precision": 1},
    )
    values: Mapping[str, float] = json.loads(metrics_json)
    assert passed is True and metrics.metadata == values
    assert values["map50_95"] == pytest.approx(1) and "map50_under_24" not in values
    matrix = confusion.metadata["confusionMatrix"]
    assert [entry["displayName"] for entry in matrix["annotationSpecs"]] == ["face", "no face"]
    assert [row["row"] for row in matrix["rows"]] == [[3, 0], [0, 0]]
    page = (tmp_path / "report").read_text()
    assert "No face is missed." in page and "Nothing is found that is no face." in page
    files = {path.name for path in (tmp_path / "details").iterdir()}
    assert {"metrics.json", "classes.csv", "slices.csv", "curves.csv"} < files
