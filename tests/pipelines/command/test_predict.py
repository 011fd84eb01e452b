"""`facet predict` as a user calls it."""

import csv
import io
import json
import logging
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import Answer, facet
from green_faces import green_photo
from PIL import Image
from pyarrow import parquet
from tiny_detector import build_detector
from tiny_model import build_model, card_facts

from components.shared.dataset.label_spaces import label_space
from components.shared.dataset.predictions import read_predictions
from components.shared.models.checkpoint import Checkpoint, save_checkpoint
from components.shared.models.network import build_network
from components.shared.models.spec import resolve_model
from components.shared.prediction import stream
from components.shared.prediction.results import table_of
from pipelines.samples.profiles import draw_sample
from serving.runtime.card import CropRule, InputSize, Normalization
from serving.runtime.image.photo import Photo
from serving.runtime.load import load_model
from serving.runtime.storage import make_bucket, upload

Rows = list[dict[str, str]]


def rows(path: Path) -> Rows:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def model(folder: Path, space: str = "mask_gender_age", **changes: object) -> Path:
    """A model of a label space that looks at the colors; `changes` are other entries of its card."""
    heads = [{"name": head.name, "labels": head.labels} for head in label_space(space).heads]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(build_model(card_facts(label_space=space, heads=heads, **changes)))
    return folder


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """21 photos in three folders, which have files of the same names."""
    folder = tmp_path_factory.mktemp("photos") / "faces"
    draw_sample(folder, persons=3)
    (folder / "notes.txt").write_text("not a photo")
    return folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of the command, without runs and servers."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FACET_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SM_MODEL_DIR", raising=False)
    return tmp_path


def ok(*arguments: object) -> Answer:
    answer = facet("predict", *arguments)
    assert answer.returncode == 0, answer.stderr
    return answer


def test_a_folder_gives_the_table_of_the_step(faces: Path, home: Path) -> None:
    answer = ok(faces, "--model", model(home / "m"), "--workers", 1)
    answered = facet("step", "predict", "--model", home / "m", "--images", faces, "--predictions", home / "step.csv")
    assert answered.returncode == 0, answered.stderr
    assert (home / "predictions.csv").read_bytes() == (home / "step.csv").read_bytes()
    assert read_predictions(home / "predictions.csv").model == "tiny"
    assert answer.stdout.splitlines()[0].startswith("predicted      21 faces in 21 photos with tiny ")
    assert not list(home.glob(".*")), "nothing is left beside the table"


def test_every_format_says_the_same(faces: Path, home: Path) -> None:
    for name in ("t.csv", "t.parquet", "t.json"):
        ok(faces, "--model", model(home / "m", "mask+gender"), "--output", name)
    ok(faces, "--model", home / "m", "--output", "named.txt", "--format", "json")
    assert (home / "named.txt").read_bytes() == (home / "t.json").read_bytes()
    table, documents = parquet.read_table(home / "t.parquet").to_pylist(), json.loads((home / "t.json").read_text())
    for row, one, document in zip(rows(home / "t.csv"), table, documents, strict=True):
        assert row["path"] == one["path"] == document["path"]
        assert (int(row["class_id"]), row["label"]) == (one["class_id"], one["label"])
        assert (document["class_id"], document["label"]) == (one["class_id"], one["label"])
        assert one["x"] is None and document["box"] is None and document["detector_score"] is None
        for head in label_space("mask+gender").heads:
            for label in head.labels:
                name = f"{head.name}/{label}"
                assert np.float32(row[name]) == np.float32(one[name])
                assert np.float32(row[name]) == np.float32(document["probabilities"][head.name][label])


def test_in_parquet_the_score_is_the_probability_of_its_class(faces: Path, home: Path) -> None:
    ok(faces, "--model", model(home / "m"), "-o", "t.parquet")
    for row in parquet.read_table(home / "t.parquet").to_pylist():
        assert row["score"] == row[f"mask_gender_age/{row['label']}"]


def test_a_zip_and_s3_give_what_the_folder_gives(faces: Path, home: Path, s3: Any) -> None:
    model(home / "m")
    ok(faces, "--model", "m", "-o", "folder.csv")
    packed = Path(shutil.make_archive(str(home / "faces"), "zip", faces))
    for bucket, folder, address in (("raw", faces, "some/faces"), ("models", home / "m", "m")):
        make_bucket(bucket)
        upload(folder, f"s3://{bucket}/{address}")
    ok(packed, "--model", "m", "-o", "zip.csv")
    ok("s3://raw/some/faces", "--model", "s3://models/m", "-o", "s3.csv")
    assert (home / "zip.csv").read_bytes() == (home / "folder.csv").read_bytes()
    assert (home / "s3.csv").read_bytes() == (home / "folder.csv").read_bytes()


@pytest.fixture
def evaluation(faces: Path, home: Path) -> Path:
    """A folder as predecessors have it: images, and a table that names them in an order of its own."""
    folder = home / "eval"
    (folder / "images").mkdir(parents=True)
    names = []
    for number, photo in enumerate(sorted(faces.rglob("*.[jp][pn]*g"))[:9]):
        names.append(f"{97 - number:02d}x{photo.suffix}")
        shutil.copy(photo, folder / "images" / names[-1])
    order = [4, 1, 8, 0, 2, 7, 3, 5, 6]
    lines = ["ImageID,ans,camera", *(f'{names[n]},0,"door, {n}"' for n in order)]
    (folder / "info.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.parametrize("space", ["mask_gender_age", "all", "mask", "gender_age"])
def test_a_submission_has_the_rows_of_the_table_in_its_order(space: str, evaluation: Path, home: Path) -> None:
    model(home / "m", space)
    ok(evaluation, "--model", "m", "--submission", "sub.csv")
    given, made, table = rows(evaluation / "info.csv"), rows(home / "sub.csv"), rows(home / "predictions.csv")
    assert list(made[0]) == list(given[0]) and [row["camera"] for row in made] == [row["camera"] for row in given]
    assert [row["ImageID"] for row in made] == [row["ImageID"] for row in given]
    photos = {name.name: load_model("m").predict([(Photo(name.read_bytes()), [])])[0][0].heads
              for name in (evaluation / "images").iterdir()}  # fmt: skip
    found = label_space(space)
    for row in made:
        best = [max(range(len(head.labels)), key=list(photos[row["ImageID"]][head.name].values()).__getitem__)
                for head in found.heads]  # fmt: skip
        assert int(row["ans"]) == found.class_index(best)
    assert {row["path"]: row["class_id"] for row in table} == {row["ImageID"]: row["ans"] for row in made}
    for other in (evaluation / "info.csv", shutil.make_archive(str(home / "eval"), "zip", evaluation)):
        ok(other, "--model", "m", "--submission", "again.csv")
        assert (home / "again.csv").read_bytes() == (home / "sub.csv").read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text + text.splitlines()[1] + "\n", "1 ids occur twice in ImageID: 93x"),
        (lambda text: text + "gone.jpg,0,x\n", "1 of 10 pictures are neither in the folder 'images'"),
        (lambda text: text + ",0,x\n", "1 rows have no ImageID: row 11"),
        (lambda text: text + "a.jpg\n", "row 11 has 1 values, the header has 3"),
        (lambda text: text.splitlines()[0] + "\n", "the table has no rows"),
    ],
)
def test_a_table_that_cannot_be_joined_is_one_error(
    change: Callable[[str], str], message: str, evaluation: Path, home: Path
) -> None:
    table = evaluation / "info.csv"
    table.write_text(change(table.read_text()))
    answer = facet("predict", evaluation, "--model", model(home / "m"), "--submission", "sub.csv")
    assert (answer.returncode, message in answer.stderr) == (2, True), answer.stderr
    assert not (home / "sub.csv").exists()


def test_a_picture_that_fails_has_no_place_in_a_submission(evaluation: Path, home: Path) -> None:
    broken = rows(evaluation / "info.csv")[2]["ImageID"]
    (evaluation / "images" / broken).write_bytes(b"\xff\xd8broken")
    answer = facet("predict", evaluation, "--model", model(home / "m"), "--submission", "sub.csv", "--max-failed", 1)
    assert answer.returncode == 2
    assert f"1 of 9 pictures have no prediction: {broken}" in answer.stderr
    assert not (home / "sub.csv").exists()


def turned(orientation: int) -> bytes:
    """A photo 40 wide and 60 high as it is seen, with a red upper left quarter."""
    upright = np.zeros((60, 40, 3), np.uint8)
    upright[:30, :20, 0] = 255
    stored = np.rot90(upright) if orientation == 6 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(stored)).save(buffer, "PNG", exif=exif)
    return buffer.getvalue()


@pytest.fixture
def boxed(home: Path) -> Path:
    """Two photos, one of which is turned, a COCO file and a table with the boxes of three faces in them."""
    folder = home / "boxed"
    (folder / "photos").mkdir(parents=True)
    for orientation in (1, 6):
        (folder / "photos" / f"{orientation}.png").write_bytes(turned(orientation))
    images = [{"id": n, "file_name": f"{n}.png", "width": 40, "height": 60} for n in (1, 6)]
    faces = [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 20, 30]},
             {"id": 2, "image_id": 1, "category_id": 1, "bbox": [20, 30, 20, 30]},
             {"id": 3, "image_id": 6, "category_id": 1, "bbox": [0, 0, 20, 30]}]  # fmt: skip
    coco = {"images": images, "annotations": faces, "categories": [{"id": 1, "name": "face"}]}
    (folder / "faces.json").write_text(json.dumps(coco))
    (folder / "faces.csv").write_text(
        "path,xmin,ymin,xmax,ymax\nphotos/1.png,0,0,20,30\nphotos/1.png,20,30,40,60\nphotos/6.png,0,0,20,30\n"
    )
    return folder


@pytest.mark.parametrize("name", ["faces.json", "faces.csv"])
def test_a_file_of_faces_gives_their_boxes(name: str, boxed: Path, home: Path) -> None:
    model(home / "m", crop={"scale": 1.0})
    ok(boxed / name, "--model", "m")
    found = rows(home / "predictions.csv")
    assert [(row["path"], row["x"], row["y"], row["width"], row["height"]) for row in found] == [
        ("photos/1.png", "0.0", "0.0", "20.0", "30.0"),
        ("photos/1.png", "20.0", "30.0", "20.0", "30.0"),
        ("photos/6.png", "0.0", "0.0", "20.0", "30.0"),
    ]
    probabilities = [[value for column, value in row.items() if "mask_gender_age/" in column] for row in found]
    assert probabilities[0] == probabilities[2], "the turned photo shows the same face"
    assert probabilities[0] != probabilities[1]


def test_a_face_outside_of_its_photo_is_counted(boxed: Path, home: Path) -> None:
    (boxed / "faces.csv").write_text("path,xmin,ymin,xmax,ymax\nphotos/1.png,0,0,20,30\nphotos/6.png,90,90,120,130\n")
    answer = facet("predict", boxed / "faces.csv", "--model", model(home / "m"))
    assert answer.returncode == 2 and "1 photos or faces cannot be used: 1 box_outside" in answer.stderr
    answer = ok(boxed / "faces.csv", "--model", "m", "--max-failed", 1)
    assert "1 face in 2 photos" in answer.stdout and ", 1 failed" in answer.stdout
    assert [row["path"] for row in rows(home / "predictions.csv")] == ["photos/1.png"]


def test_what_the_source_lost_and_what_fails_have_one_limit(boxed: Path, home: Path) -> None:
    (boxed / "faces.csv").write_text(
        "path,xmin,ymin,xmax,ymax\nphotos/1.png,0,0,20,30\nphotos/1.png,90,90,120,130\nphotos/6.png,0,0,20,30\n"
    )
    (boxed / "photos/6.png").write_bytes(b"\x89PNG broken")
    answer = facet("predict", boxed / "faces.csv", "--model", model(home / "m"), "--max-failed", 1)
    assert answer.returncode == 2 and "(--max-failed 2)" in answer.stderr
    answer = ok(boxed / "faces.csv", "--model", "m", "--max-failed", 2)
    assert ", 2 failed" in answer.stdout


@pytest.fixture
def door(home: Path) -> Path:
    """A composite that finds green faces and judges masks and genders, and three photos: two faces, none, one."""
    folder = home / "door"
    folder.mkdir()
    (folder / "green.onnx").write_bytes(build_detector(side=(320, 320)))
    model(folder / "mask", "mask+gender")
    card = {"name": "door", "detectors": ["green.onnx"], "heads": ["mask"]}
    (folder / "composite.json").write_text(json.dumps(card))
    photos = home / "photos"
    (photos / "deep").mkdir(parents=True)
    (photos / "1.png").write_bytes(green_photo([(20, 20, 40, 60), (150, 30, 50, 60)], [255, 230]))
    (photos / "2.png").write_bytes(green_photo([]))
    (photos / "deep/1.png").write_bytes(green_photo([(30, 20, 60, 60)]))
    return folder


def test_a_composite_gives_a_row_for_each_face_and_each_photo_without_one(door: Path, home: Path) -> None:
    answer = ok("photos", "--model", door, "--annotated", "copies")
    assert "3 faces in 3 photos with door " in answer.stdout
    found = rows(home / "predictions.csv")
    assert [(row["path"], row["face_id"], row["x"], row["detector_score"][:4]) for row in found] == [
        ("1.png", "1", "20.0", "1.0"), ("1.png", "2", "150.0", "0.90"), ("2.png", "", "", ""),
        ("deep/1.png", "1", "30.0", "1.0")]  # fmt: skip
    served = load_model(str(door)).predict([(Photo((home / "photos/1.png").read_bytes()), [])])[0][0]
    assert served.notice is not None
    for head, labels in served.heads.items():
        assert found[0][f"{head}_label"] == max(labels, key=labels.__getitem__)
        assert [np.float32(found[0][f"{head}/{label}"]) for label in labels] == [np.float32(v) for v in labels.values()]
    assert found[0]["notify"] == ("true" if served.notice.notify else "false")
    assert {row["task"] for row in found} == {"faces"}
    copies = sorted(path.relative_to(home / "copies").as_posix() for path in (home / "copies").rglob("*.*"))
    assert copies == ["1.png.jpg", "2.png.jpg", "deep/1.png.jpg"]


def test_a_detector_gives_its_boxes(door: Path, home: Path) -> None:
    answer = ok("photos", "--model", door / "green.onnx", "-o", "boxes.csv", "--annotated", "copies")
    kept = len(rows(home / "boxes.csv"))
    assert f"3 faces from its threshold of 0.5 on ({kept} rows from a score of 0.001 on) in 3 photos" in answer.stdout
    step = facet("step", "predict", "--model", door / "green.onnx", "--images", "photos", "--predictions", "step.csv")
    assert step.returncode == 0, step.stderr
    assert (home / "boxes.csv").read_bytes() == (home / "step.csv").read_bytes()
    answer = facet("predict", "photos", "--model", door / "green.onnx", "--tta", "flip")
    assert answer.returncode == 2 and "tta is for classifiers" in answer.stderr


def test_copies_are_upright_in_the_same_folders(boxed: Path, faces: Path, home: Path) -> None:
    model(home / "m")
    ok(boxed / "faces.json", "--model", "m", "--annotated", "copies")
    for name in ("1.png.jpg", "6.png.jpg"):
        with Image.open(home / "copies/photos" / name) as copy:
            assert copy.size == (6 * 40, 6 * 60), "small photos are enlarged by a whole number"
            assert copy.getpixel((60, 20))[0] > 200 > copy.getpixel((60, 320))[0], "upright"
    before = {path: path.read_bytes() for path in faces.rglob("*.*")}
    ok(faces, "--model", "m", "--annotated", "all", "--top", 2)
    photos = [path.relative_to(faces) for path in faces.rglob("*.[jp][pn]*g")]
    assert len(list((home / "all").rglob("*.*"))) == len(photos) == 21
    for path in photos:
        name = path if path.suffix in (".jpg", ".jpeg") else path.with_name(path.name + ".jpg")
        assert (home / "all" / name).is_file()
    assert before == {path: path.read_bytes() for path in faces.rglob("*.*")}


def test_broken_photos_are_counted(faces: Path, home: Path) -> None:
    shutil.copytree(faces, home / "photos")
    (home / "photos/empty.jpg").touch()
    answer = facet("predict", "photos", "--model", model(home / "m"), "--annotated", "copies")
    assert answer.returncode == 2
    assert "1 of 22 faces could not be predicted (empty 1), such as empty.jpg" in answer.stderr
    assert "max_failed=1" in answer.stderr and not (home / "predictions.csv").exists()
    assert not (home / "copies").exists()
    answer = ok("photos", "--model", "m", "--annotated", "copies", "--max-failed", 1)
    assert "21 faces in 22 photos with tiny" in answer.stdout and ", 1 failed" in answer.stdout
    assert len(rows(home / "predictions.csv")) == 21 == len(list((home / "copies").rglob("*.jp*g")))


def test_what_was_stopped_goes_on(
    faces: Path, home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ok(faces, "--model", model(home / "m"), "-o", "whole.csv")
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(stream, "PHOTOS_PER_PART", 4)
    calls = 0

    def stops_in_the_third_part(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return table_of(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(stream, "table_of", stops_in_the_third_part)
        answer = facet("predict", faces, "--model", "m", "-o", "t.csv", "--annotated", "copies")
    assert answer.returncode == 130
    assert answer.stderr.splitlines()[-1] == "facet: stopped; the same command goes on from here"
    assert not (home / "t.csv").exists() and not (home / "copies").exists()
    ok(faces, "--model", "m", "-o", "t.csv", "--annotated", "copies")
    assert "12 of 21 photos are finished; the others follow" in caplog.text
    assert (home / "t.csv").read_bytes() == (home / "whole.csv").read_bytes()
    assert len(list((home / "copies").rglob("*.jp*g"))) == 21
    assert not list(home.glob(".t.csv*"))


@pytest.mark.parametrize("kind", ["folder", "ingested", "zip", "info.csv", "faces.csv"])
def test_a_photo_that_changed_meanwhile_is_predicted_anew(kind: str, home: Path) -> None:
    """Its size and its name are those that it had."""
    source, model_folder = home / "data", model(home / "m")
    (source / "images").mkdir(parents=True)

    def write(color: str) -> str:
        pictures: dict[str, bytes] = {"empty.bmp": b""}  # the command fails at its end, and all parts are kept
        for name in ("a.bmp", "b.bmp"):
            buffer = io.BytesIO()
            Image.new("RGB", (48, 64), color if name == "b.bmp" else "red").save(buffer, "BMP")
            pictures[name] = buffer.getvalue()
        if kind in ("ingested", "zip"):
            packed = source / "images" / ("images-00000.zip" if kind == "ingested" else "photos.zip")
            with zipfile.ZipFile(packed, "w") as archive:
                for name, data in pictures.items():
                    archive.writestr(name, data)
            return str(packed if kind == "zip" else source / "images")
        for name, data in pictures.items():
            (source / "images" / name).write_bytes(data)
        (source / "info.csv").write_text("ImageID\n" + "\n".join(pictures))
        (source / "faces.csv").write_text("path,label\n" + "\n".join(f"images/{name},x" for name in pictures))
        return str(source / ("images" if kind == "folder" else kind))

    assert facet("predict", write("green"), "--model", model_folder, "-o", home / "t.csv").returncode == 2
    assert list(home.glob(".t.csv.parts/0/*/000000.json")), "the part is kept"
    changed = write("blue")
    ok(changed, "--model", "m", "--max-failed", 1, "-o", "t.csv")
    ok(changed, "--model", "m", "--max-failed", 1, "-o", "anew.csv")
    assert (home / "t.csv").read_bytes() == (home / "anew.csv").read_bytes()


def test_an_archive_in_a_folder_is_opened(faces: Path, home: Path) -> None:
    (home / "photos").mkdir()
    shutil.make_archive(str(home / "photos/packed"), "zip", faces)
    Image.new("RGB", (48, 64)).save(home / "photos/a.png")
    ok("photos", "--model", model(home / "m"))
    names = [row["path"] for row in rows(home / "predictions.csv")]
    assert len(names) == 22 and names[0] == "a.png" and all(name.startswith("packed/") for name in names[1:])


@pytest.fixture
def run(faces: Path, home: Path) -> Path:
    """The folder of a run, as `facet run` leaves it."""
    folder = home / "home" / "runs" / "small"
    for task in ("ingest", "split"):
        (folder / task).mkdir(parents=True)
        (folder / task / "executor_output.json").write_text("{}")
    images, found = folder / "ingest/images", folder / "ingest/annotations"
    made = facet("step", "ingest", "--source", faces, "--images", images, "--annotations", found)
    assert made.returncode == 0, made.stderr
    made = facet("step", "split", "--annotations", found, "--split-annotations", folder / "split/split_annotations",
                 "--label-space", "mask", "--val-ratio", "0.3", "--test-ratio", "0.34")  # fmt: skip
    assert made.returncode == 0, made.stderr
    model(folder / "export-onnx/model")
    (folder / "config.yaml").write_text("pipeline: classification\nmodel_name: tiny\n")
    return folder


@pytest.mark.parametrize("named", ["small", "path"])
def test_a_run_needs_nothing_else(named: str, run: Path, home: Path) -> None:
    (home / "small").mkdir()  # a folder of that name here is no run
    answer = ok("--run", run if named == "path" else "small")
    step = facet("step", "predict", "--model", run / "export-onnx/model", "--images", run / "ingest/images",
                 "--annotations", run / "split/split_annotations", "--predictions", home / "step.csv")  # fmt: skip
    assert step.returncode == 0, step.stderr
    assert (run / "predictions.csv").read_bytes() == (home / "step.csv").read_bytes()
    table = rows(run / "predictions.csv")
    assert rows(run / "output.csv") == [{"ImageID": row["path"], "ans": row["class_id"]} for row in table]
    assert len(table) == 7 and str(run / "output.csv") in answer.stdout
    (run / "split").rename(home / "split")
    answer = facet("predict", "--run", run)
    assert answer.returncode == 2 and "has no annotations" in answer.stderr and "name a SOURCE" in answer.stderr


def test_held_out_is_what_was_split_not_what_the_source_called_test(run: Path, home: Path) -> None:
    """Where the faces are found before the split, the chosen ones still have the splits of the raw data."""
    data = json.loads((run / "ingest/annotations").read_text())
    for image in data["images"]:
        image["split"] = "test"
    (run / "choose-faces").mkdir()
    (run / "choose-faces/detected_annotations").write_text(json.dumps(data))
    ok("--run", "small", "-o", "7.csv")
    assert len(rows(home / "7.csv")) == 7
    shutil.copy(run / "split/split_annotations", run / "choose-faces/detected_annotations")  # split before, as emotion
    shutil.rmtree(run / "split")
    ok("--run", "small", "-o", "again.csv")
    assert (home / "again.csv").read_bytes() == (home / "7.csv").read_bytes()


def test_a_run_whose_classifier_was_not_trained_has_no_model(run: Path, faces: Path) -> None:
    """Its detector is none, and is not taken for one."""
    (run / "config.yaml").write_text("pipeline: emotion_yolo\n")
    (run / "export-onnx").rename(run / "train-yolo")
    (run / "train-yolo/model").rename(run / "train-yolo/exported")
    answer = facet("predict", faces, "--run", run)
    assert answer.returncode == 2
    assert "has no model in calibrate/calibrated or train-yolo-2/exported" in answer.stderr
    (run / "config.yaml").write_text("pipeline: batch_prediction\n")
    assert "its pipeline trains none" in facet("predict", faces, "--run", run).stderr


def test_a_run_answers_the_table_of_the_source(run: Path, evaluation: Path, home: Path) -> None:
    ok(evaluation, "--run", "small", "--submission", "sub.csv")
    assert (run / "output.csv").read_bytes() == (home / "sub.csv").read_bytes()


@pytest.mark.parametrize("options", [("--tta", "flip"), ("--combine", "log_mean")])
def test_other_answers_of_a_run_leave_its_files(options: tuple[str, ...], run: Path, home: Path) -> None:
    ok("--run", "small")
    before = {name: (run / name).read_bytes() for name in ("predictions.csv", "output.csv")}
    answer = facet("predict", "--run", "small", *options)
    assert answer.returncode == 2 and f"{options[0]}: gives other answers" in answer.stderr
    ok("--run", "small", *options, "-o", "other.csv")
    assert {name: (run / name).read_bytes() for name in before} == before
    assert len(rows(home / "other.csv")) == len(rows(home / "other_output.csv")) == 7


def test_the_calibrated_model_of_a_run_comes_first(run: Path, faces: Path) -> None:
    model(run / "calibrate/calibrated", name="calibrated")
    ok(faces, "--run", run)
    assert {row["model"] for row in rows(run / "predictions.csv")} == {"calibrated"}


def write_checkpoint(path: Path, seed: int) -> None:
    """The checkpoint of a small network that was never trained."""
    torch.manual_seed(seed)
    heads, mean = label_space("gender").heads, Normalization(mean=(0.5,) * 3, std=(0.2,) * 3)
    network = build_network("base", heads, mean)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(
        Checkpoint(
            model=resolve_model("base"), label_space="gender", heads=heads, input=InputSize(height=32, width=24),
            crop=CropRule(), normalization=mean, model_state=network.state_dict(), ema_state=None, config={}, epoch=1,
            metrics={}, dataset_digest="d" * 64, training_digest="t" * 64, leaks=False, run_id="", versions={},
        ),
        path,
    )  # fmt: skip


def test_a_checkpoint_that_was_trained_on_is_exported_anew(run: Path, faces: Path, home: Path) -> None:
    checkpoints = run / "train-classifier/checkpoints"
    for seed in (0, 1):
        write_checkpoint(checkpoints / "last.pt", seed)
        for name in ("one.csv", "two.csv"):
            ok(faces, "--run", run, "--state", "last", "-o", name)
        assert (home / "one.csv").read_bytes() == (home / "two.csv").read_bytes()
        (home / "one.csv").rename(home / f"{seed}.csv")
    assert (home / "0.csv").read_bytes() != (home / "1.csv").read_bytes()
    assert len(list((run / "states").iterdir())) == 2
    answer = facet("predict", faces, "--run", run, "--state", "worst")
    assert answer.returncode == 2 and "no checkpoint 'worst'" in answer.stderr and "present: last" in answer.stderr


def test_folds_are_found_and_averaged(run: Path, faces: Path, home: Path) -> None:
    """With a source all folds together; without one each photo by the fold that has not seen it."""
    folds = home / "home/runs/folds"
    shutil.copytree(run / "ingest", folds / "ingest")
    (folds / "config.yaml").write_text("pipeline: cross_validation\n")
    (folds / "split-folds").mkdir()
    made = facet("step", "split-folds", "--annotations", run / "ingest/annotations", "--split-annotations",
                 folds / "split-folds/split_annotations", "--label-space", "mask", "--folds", 3)  # fmt: skip
    assert made.returncode == 0, made.stderr
    for fold in range(3):
        place = folds / f"fold={fold}"
        mean = [0.2 + 0.1 * fold] * 3
        model(place / "export-onnx/model", normalization={"mean": mean, "std": [0.2] * 3})
        (place / "take-fold").mkdir()
        made = facet("step", "take-fold", "--annotations", folds / "split-folds/split_annotations",
                     "--fold-annotations", place / "take-fold/fold_annotations", "--fold", fold,
                     "--label-space", "mask")  # fmt: skip
        assert made.returncode == 0, made.stderr
        ok(faces, "--model", place / "export-onnx/model", "-o", f"{fold}.csv")
    each = [read_predictions(home / f"{fold}.csv") for fold in range(3)]
    ok(faces, "--run", folds, "-o", "mean.csv")
    together = read_predictions(home / "mean.csv")
    mean = np.mean([one.heads["mask_gender_age"].astype(np.float64) for one in each], axis=0)
    assert np.allclose(together.heads["mask_gender_age"], mean, atol=1e-6)
    ok("--run", "folds")
    found = read_predictions(folds / "predictions.csv")
    assert len(found.faces) == 21 and len(rows(folds / "output.csv")) == 21
    values = {face.path: [one.heads["mask_gender_age"][n] for one in each] for n, face in enumerate(each[0].faces)}
    data = json.loads((folds / "split-folds/split_annotations").read_text())
    fold_of = {image["file_name"]: image["fold"] for image in data["images"]}
    for n, face in enumerate(found.faces):
        assert np.array_equal(found.heads["mask_gender_age"][n], values[face.path][fold_of[face.path]])
    shutil.rmtree(folds / "fold=1/export-onnx")
    answer = facet("predict", "--run", folds)
    assert answer.returncode == 2 and "fold=1 has no model" in answer.stderr


def test_a_detector_run_has_its_table_as_answers(run: Path, home: Path) -> None:
    (run / "config.yaml").write_text("pipeline: face_detection\n")
    (run / "train-yolo/exported").mkdir(parents=True)
    (run / "train-yolo/exported/model.onnx").write_bytes(build_detector())
    ok("--run", "small")
    assert read_predictions(run / "output.csv").model == "green"


ERRORS: dict[str, tuple[tuple[str, ...], str]] = {
    "no source": (("--model", "m"), "SOURCE: is missing; name photos, or a run"),
    "wrong path": (("nowhere", "--model", "m"), "nowhere: there is no such file or folder; expected a folder or a ZIP"),
    "no photos": (("m", "--model", "m"), "m: no photo found in 1 file;"),
    "no model": (("photos", "--model", "nothing"), "nothing"),
    "no run": (("--run", "gone"), "'gone' is neither a run in "),
    "run and model": (("--run", "gone", "--model", "m"), "name one of both"),
    "state without run": (("photos", "--model", "m", "--state", "best"), "name the run with --run"),
    "another format": (("photos/labelme.json", "--model", "m"), "are read by `facet step ingest`"),
    "not a source": (("m/model.onnx", "--model", "m"), "neither an archive nor a file that names photos"),
    "format": (("photos", "--model", "m", "--format", "xml"), "--format: unknown 'xml'; known: csv"),
    "combine": (("photos", "--model", "m", "--combine", "best"), "unknown rule 'best'"),
    "view": (("photos", "--model", "m", "--tta", "mirror"), "unknown view 'mirror'"),
    "twice": (("photos", "--model", "m", "--model", "m"), "is named twice"),
    "no table": (("photos", "--model", "m", "--submission", "s.csv"), "has no info.csv with a column ImageID"),
    "copies inside": (("photos", "--model", "m", "--annotated", "photos/new"), "would overwrite the input photos"),
    "copies are there": (("photos", "--model", "m", "--annotated", "m"), "would overwrite the input m"),
    "a photo": (("photos", "--model", "m", "-o", "photos/a.jpg", "--format", "csv"), "overwrite the input photos"),
    "the model": (("photos", "--model", "m", "-o", "m/model.onnx", "--format", "csv"), "would overwrite the input m"),
    "ending": (("photos", "--model", "m", "-o", "o.xlsx"), "'.xlsx' says no format; end it with .csv, .parquet or"),
    "table inside": (("photos", "--model", "m", "-o", "photos/new/t.csv"), "is in the source photos"),
    "s3 output": (("photos", "--model", "m", "-o", "s3://b/t.csv"), "is written on this machine"),
    "below a file": (("photos", "--model", "m", "-o", "m/model.onnx/t.csv"), "would overwrite the input m"),
    "a folder": (("photos", "--model", "m", "-o", "m"), "m: is a folder or a device, and a file is written here"),
    "no name": (("photos", "--model", "m", "-o", "."), ".: is a folder or a device"),
    "not a run": (("--run", "photos"), "nor a run folder with config.yaml"),
    "unwritable": (("photos", "--model", "m", "-o", "/proc/nothing/t.csv"), "/proc/nothing"),
    "same outputs": (("photos", "--model", "m", "-o", "x.csv", "--annotated", "x.csv"), "overwrite another output"),
}  # fmt: skip


@pytest.mark.parametrize("error", ERRORS)
def test_what_cannot_be_done_is_one_message(error: str, faces: Path, home: Path) -> None:
    shutil.copytree(faces, home / "photos")
    (home / "photos/labelme.json").write_text('{"shapes": [], "imagePath": "a.jpg"}')
    model(home / "m")
    arguments, message = ERRORS[error]
    before = sorted(home.rglob("*"))
    answer = facet("predict", *arguments)
    assert answer.returncode == 2 and message in answer.stderr, answer.stderr
    assert "Traceback" not in answer.stderr
    assert len([line for line in answer.stderr.splitlines() if not line.startswith("photos: 2 files")]) == 1
    assert sorted(home.rglob("*")) == before


def test_models_are_combined_and_seen_twice(faces: Path, home: Path) -> None:
    model(home / "mask", "mask")
    model(home / "age", "gender_age")
    answer = ok(faces, "--model", "mask", "--model", "age", "--tta", "flip", "--combine", "log_mean")
    (line,) = [line for line in answer.stdout.splitlines() if line.startswith("combined ")]
    assert "2 models (" in line and "seen as itself, flip, by log_mean; the version is that of the ensemble" in line
    found = read_predictions(home / "predictions.csv")
    assert found.space.name == "mask_gender_age"
    assert np.allclose(found.heads["mask_gender_age"].sum(axis=1), 1, atol=1e-5)


def test_a_zip_with_a_broken_member_is_counted(faces: Path, home: Path) -> None:
    packed = home / "faces.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted(faces.rglob("*.jpg"))[:3]:
            archive.write(path, path.relative_to(faces))
        archive.writestr("bad.png", b"\x89PNG broken")
    answer = facet("predict", packed, "--model", model(home / "m"))
    assert answer.returncode == 2 and "bad.png" in answer.stderr
