import csv
import hashlib
import io
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from kfp import dsl
from onnx import TensorProto, helper
from PIL import Image as Picture

from components.predict.component import predict as door
from components.predict.predict import predict
from components.shared.dataset.annotations import (
    Annotations,
    Face,
    Image,
    Keypoint,
    images_digest,
    write_annotations,
)
from components.shared.dataset.archive import ArchiveWriter
from components.shared.dataset.info import DatasetInfo
from components.shared.dataset.label_spaces import label_space
from components.shared.dataset.predictions import read_predictions
from serving.runtime.card import METADATA_KEY, ClassificationCard, Head, InputSize, Normalization
from serving.runtime.errors import InputError, StorageError
from serving.runtime.image.photo import Photo
from serving.runtime.load import load_model
from serving.runtime.predictor import Classifier

HEIGHT, WIDTH = 16, 12


def write_model(folder: Path, space_name: str, **changes: object) -> Path:
    """A model that looks at the colors of the four quarters of its input."""
    space = label_space(space_name)
    heads = space.heads
    facts = {
        "name": "tiny",
        "label_space": space.name,
        "heads": heads,
        "input": InputSize(height=HEIGHT, width=WIDTH),
        "normalization": Normalization(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
        "leaks": False,
        "versions": {},
        "dataset_digest": "d" * 64,
        "training_digest": "e" * 64,
    }
    card = ClassificationCard.model_validate(facts | changes)
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Cast", ["images"], ["nhwc"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["nhwc"], ["nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("AveragePool", ["nchw"], ["pooled"], kernel_shape=[8, 6], strides=[8, 6]),
        helper.make_node("Flatten", ["pooled"], ["features"]),
    ]
    weights = []
    for head in card.heads:
        values = rng.normal(size=(12, len(head.labels))).astype(np.float32) / 60
        weights.append(onnx.numpy_helper.from_array(values, f"w_{head.name}"))
        nodes.append(helper.make_node("MatMul", ["features", f"w_{head.name}"], [f"l_{head.name}"]))
        nodes.append(helper.make_node("Softmax", [f"l_{head.name}"], [head.name], axis=1))
    outputs = [helper.make_tensor_value_info(h.name, TensorProto.FLOAT, ["n", len(h.labels)]) for h in card.heads]
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", HEIGHT, WIDTH, 3])
    graph = helper.make_graph(nodes, "tiny", [images], outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    helper.set_model_props(model, {METADATA_KEY: card.model_dump_json()})
    folder.mkdir(parents=True)
    onnx.save(model, folder / "model.onnx")
    return folder


def picture(rng: np.random.Generator, kind: str) -> bytes:
    coarse = Picture.fromarray(rng.integers(0, 255, (5, 4, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    coarse.resize((90, 120), Picture.Resampling.BICUBIC).save(buffer, kind)
    return buffer.getvalue()


class Data:
    """Pictures of three splits, some with two faces, one without any, in no particular order."""

    def __init__(self, folder: Path, count: int = 30, broken: dict[int, bytes] | None = None) -> None:
        self.folder, self.bytes = folder, {}
        rng = np.random.default_rng(0)
        images = []
        for i in rng.permutation(np.arange(1, count + 1)).tolist():
            name = f"p{i % 5}/{i}.{'png' if i % 3 == 0 else 'jpg'}"
            self.bytes[name] = (broken or {}).get(i) or picture(rng, "PNG" if i % 3 == 0 else "JPEG")
            faces = [Face(2 * i + 1, None if i % 4 == 0 else (10.0, 12.5, 40.0, 50.0), {})]
            faces += [Face(2 * i, (30.0, 40.0, 50.0, 60.0), {}, score=i / 64)] if i % 5 == 0 else []
            split = {0: "train", 1: "val"}.get(i % 6, "test") if i != 2 else None
            digest = hashlib.sha256(self.bytes[name]).hexdigest()
            images.append(Image(i, name, 90, 120, tuple(faces) if i != 3 else (), split=split, sha256=digest))
        with ArchiveWriter(folder / "images", shard_bytes=20_000) as archive:
            for name in sorted(self.bytes):
                archive.add(name, self.bytes[name])
        self.annotations = Annotations(tuple(images), DatasetInfo(images_digest=images_digest(images)))
        write_annotations(self.annotations, folder / "a.json")

    def run(self, model: Path, output: str = "p.csv", **options: object):
        return predict(model, self.folder / "images", self.folder / "a.json", self.folder / output, **options)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "model", "mask")


@pytest.mark.parametrize("space", ["mask", "all", "mask_gender_age"])
def test_probabilities_are_those_of_the_serving_code_for_the_same_bytes(space: str, tmp_path: Path) -> None:
    model, data = write_model(tmp_path / "model", space), Data(tmp_path)
    report = data.run(model)
    table, predictor = read_predictions(tmp_path / "p.csv"), load_model(str(model))
    expected = [
        (image.id, face.id, image.file_name, face.box, face.score)
        for image in sorted(data.annotations.images, key=lambda image: image.id)
        for face in sorted(image.faces, key=lambda face: face.id)
        if image.split == "test"
    ]
    assert [(f.image_id, f.face_id, f.path, f.box, f.score) for f in table.faces] == expected
    assert report.faces == len(expected) > report.images > 10 and report.failed == {}
    served = predictor.predict([(Photo(data.bytes[path]), [box] if box else []) for _, _, path, box, _ in expected])
    for name, values in table.heads.items():
        np.testing.assert_allclose(values, [list(face.heads[name].values()) for (face,) in served], atol=1e-6)
    for face, (seen,) in zip(table.faces, served, strict=True):
        assert {round(level, 2) for level in seen.brightness.values()} == {face.brightness}
    assert np.ptp(table.class_probabilities(), axis=0).max() > 0.05, "the model must see differences"
    assert (table.model, table.version) == ("tiny", predictor.version)


def test_a_model_that_aligns_faces_is_given_their_eyes_here_as_in_serving(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A face without eyes is cut by its box; the log counts it, and serving says so in the result."""
    eyes = {"eyes": ((0.3, 0.35), (0.7, 0.35)), "scale": 1.3, "min_decode": 1.0}
    model, data = write_model(tmp_path / "model", "mask", crop=eyes), Data(tmp_path)
    points = (Keypoint(20.0, 30.0, 2), Keypoint(50.0, 45.0, 2))
    images = tuple(
        replace(image, faces=tuple(replace(face, keypoints=points if face.id % 4 else None) for face in image.faces))
        for image in data.annotations.images
    )
    names = ("left_eye", "right_eye")
    write_annotations(replace(data.annotations, images=images, keypoint_names=names), data.folder / "a.json")
    data.run(model)
    table, predictor = read_predictions(tmp_path / "p.csv"), load_model(str(model))
    assert isinstance(predictor, Classifier)
    crops = set()
    for row, face in enumerate(table.faces):
        points_of = {name: (point.x, point.y) for name, point in zip(names, points, strict=True)}
        aligned = bool(face.face_id % 4)
        photo, boxes = Photo(data.bytes[face.path]), [face.box] if face.box else []
        ((served,),) = predictor.predict([(photo, boxes)], keypoints=[[points_of if aligned else {}]])
        assert (served.crop == "eyes") is aligned
        crops.add(served.crop)
        np.testing.assert_allclose(table.heads["mask"][row], list(served.heads["mask"].values()), atol=1e-6)
    assert crops >= {"eyes", "box"} and "have not both and are cut by their boxes" in caplog.text


def test_threads_do_not_change_the_result(model: Path, tmp_path: Path) -> None:
    data = Data(tmp_path)
    for name, workers in (("one", 1), ("seven", 5), ("many", 2)):
        data.run(model, name, workers=workers)
    one, seven, many = (read_predictions(tmp_path / name) for name in ("one", "seven", "many"))
    assert one.faces == seven.faces == many.faces
    for other in (seven, many):
        np.testing.assert_allclose(other.heads["mask"], one.heads["mask"], atol=1e-6)
        assert (other.heads["mask"].argmax(1) == one.heads["mask"].argmax(1)).all()
    data.run(model, "again", workers=3)
    assert (tmp_path / "again").read_bytes() == (tmp_path / "many").read_bytes()


def test_splits(model: Path, tmp_path: Path) -> None:
    data = Data(tmp_path)
    total = {}
    for split in ("test", "val", "train", "all"):
        report = data.run(model, split=split)
        with (tmp_path / "p.csv").open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        total[split] = report.faces
        assert len(rows) == report.faces
    assert total["all"] == sum(len(image.faces) for image in data.annotations.images)
    assert total["all"] == total["test"] + total["val"] + total["train"] + 1
    with pytest.raises(
        InputError, match=r"unknown split 'tset'; known: test, val, train, all; present: no split 1 faces"
    ):
        data.run(model, split="tset")


def test_an_empty_split_lists_the_ones_present(model: Path, tmp_path: Path) -> None:
    images = (Image(1, "a.png", 9, 9, (Face(1, None, {}),), split="train"),)
    write_annotations(Annotations(images), tmp_path / "a.json")
    with ArchiveWriter(tmp_path / "images") as archive:
        archive.add("a.png", b"")
    with pytest.raises(InputError, match=r"no image is in split 'test'; present: train 1 faces"):
        predict(model, tmp_path / "images", tmp_path / "a.json", tmp_path / "p.csv")


def test_images_that_cannot_be_decoded_are_counted_and_limited(model: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    broken = {4: b"no image", 8: picture(rng, "JPEG")[:300], 9: b"GIF89a"}
    data = Data(tmp_path, broken=broken)
    with pytest.raises(InputError, match=r"3 of \d+ faces could not be predicted \(.*not_an_image.*p4/4\.jpg"):
        data.run(model)
    with pytest.raises(InputError, match="max_failed=3"):
        data.run(model, max_failed=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "images"]
    report = data.run(model, max_failed=3)
    assert sum(report.failed.values()) == 3 and report.failed["not_an_image"] >= 1
    whole = Data(tmp_path / "whole")
    whole.run(model)
    good = [f.face_id for f in read_predictions(tmp_path / "whole" / "p.csv").faces if f.image_id not in broken]
    assert [f.face_id for f in read_predictions(tmp_path / "p.csv").faces] == good


def test_a_box_outside_its_image_is_a_reason_too(model: Path, tmp_path: Path) -> None:
    buffer = picture(np.random.default_rng(0), "PNG")
    faces = (Face(1, (500.0, 0.0, 10.0, 10.0), {}), Face(2, None, {}))
    write_annotations(Annotations((Image(1, "a.png", 90, 120, faces, split="test"),)), tmp_path / "a.json")
    with ArchiveWriter(tmp_path / "images") as archive:
        archive.add("a.png", buffer)
    report = predict(model, tmp_path / "images", tmp_path / "a.json", tmp_path / "p.csv", max_failed=1)
    assert report.failed == {"box": 1} and report.faces == 1


def test_nothing_is_written_when_every_face_fails(model: Path, tmp_path: Path) -> None:
    data = Data(tmp_path, count=6, broken=dict.fromkeys(range(1, 7), b"x"))
    with pytest.raises(InputError, match="could not be predicted"):
        data.run(model, split="all", max_failed=1000)
    assert not (tmp_path / "p.csv").exists()


def test_inputs_that_do_not_fit_are_refused(model: Path, tmp_path: Path) -> None:
    data = Data(tmp_path)
    with pytest.raises(InputError, match="would overwrite the input"):
        data.run(model, "images/../a.json")
    with pytest.raises(StorageError, match=r"expected model\.onnx or one other \.onnx file"):
        data.run(tmp_path / "images")
    swapped = (Head(name="mask", labels=("incorrect", "worn", "absent")),)
    with pytest.raises(InputError, match="are not those of label space 'mask'"):
        data.run(write_model(tmp_path / "swapped", "mask", heads=swapped))
    stranger = Image(99, "stranger.jpg", 9, 9, (Face(999, None, {}),), split="test")
    write_annotations(Annotations((*data.annotations.images, stranger)), tmp_path / "a.json")
    with pytest.raises(InputError, match=r"1 images .* not in the image archive \(stranger\.jpg\)"):
        data.run(model)


def test_the_rows_name_data_set_and_picture(model: Path, tmp_path: Path) -> None:
    data = Data(tmp_path)
    data.run(model)
    table = read_predictions(tmp_path / "p.csv")
    assert table.images_digest == data.annotations.info.images_digest
    assert [hashlib.sha256(data.bytes[face.path]).hexdigest() for face in table.faces] == [
        f.sha256 for f in table.faces
    ]


@pytest.mark.parametrize("changed", [4, 9, 29])
def test_an_archive_of_other_pictures_with_equal_names_is_refused(changed: int, model: Path, tmp_path: Path) -> None:
    """One picture is enough; `max_failed` does not let it through."""
    data = Data(tmp_path)
    with ArchiveWriter(tmp_path / "other/images") as archive:
        for name, content in data.bytes.items():
            archive.add(name, picture(np.random.default_rng(7), "JPEG") if Path(name).stem == str(changed) else content)
    with pytest.raises(InputError, match=rf"other/images: 'p\d/{changed}\.\w+' is another picture"):
        predict(model, tmp_path / "other/images", tmp_path / "a.json", tmp_path / "p.csv", max_failed=99)
    assert not (tmp_path / "p.csv").exists()
    data.run(model)


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, bytes]:
    """Pictures in a tree with other files, by their paths in it."""
    rng = np.random.default_rng(3)
    names = ["0.jpg", "b/1.PNG", "b/c/2.jpeg", "사진/3.jpg"]
    pictures = {name: picture(rng, "PNG" if name.endswith("PNG") else "JPEG") for name in names}
    for name, content in {**pictures, "notes.txt": b"x", ".hidden/x.jpg": b"x", "b/._1.PNG": b"x"}.items():
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_bytes(content)
    return pictures


@pytest.mark.parametrize("kind", ["tree", "zip", "archive"])
def test_bare_pictures_are_predicted_without_annotations(
    kind: str, bare: dict[str, bytes], model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images = tmp_path / "tree"
    if kind == "zip":
        images = Path(shutil.make_archive(str(tmp_path / "pictures"), "zip", images))
    elif kind == "archive":
        with ArchiveWriter(tmp_path / "archive") as archive:
            for name, content in bare.items():
                archive.add(name, content)
        images = tmp_path / "archive"
    report = predict(model, images, None, tmp_path / "p.csv")
    table = read_predictions(tmp_path / "p.csv")
    assert report.faces == report.images == 4
    assert [(f.image_id, f.face_id, f.path, f.box, f.score) for f in table.faces] == [
        (n, n, name, None, None) for n, name in enumerate(sorted(bare), start=1)
    ]
    served = load_model(str(model)).predict([(Photo(bare[name]), []) for name in sorted(bare)])
    values = [list(face.heads["mask"].values()) for (face,) in served]
    np.testing.assert_allclose(table.heads["mask"], values, atol=1e-6)
    assert ("1 file is no picture: notes.txt" in caplog.text) == (kind != "archive")


def test_bare_pictures_that_cannot_be_read_are_counted(bare: dict[str, bytes], model: Path, tmp_path: Path) -> None:
    (tmp_path / "tree/broken.jpg").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"1 of 5 faces could not be predicted .*broken\.jpg"):
        predict(model, tmp_path / "tree", None, tmp_path / "p.csv")
    assert predict(model, tmp_path / "tree", None, tmp_path / "p.csv", max_failed=1).faces == 4
    (tmp_path / "empty").mkdir()
    for images, message in [("empty", "no picture found"), ("p.csv", "neither a folder of pictures nor a ZIP")]:
        with pytest.raises(InputError, match=message):
            predict(model, tmp_path / images, None, tmp_path / "q.csv")


def test_the_component(model: Path, tmp_path: Path) -> None:
    data = Data(tmp_path)
    metrics = dsl.Metrics(uri=str(tmp_path / "m"))
    door.python_func(
        model=dsl.Model(uri=str(model)),
        images=dsl.Dataset(uri=str(tmp_path / "images")),
        annotations=dsl.Dataset(uri=str(tmp_path / "a.json")),
        predictions=dsl.Dataset(uri=str(tmp_path / "door.csv")),
        metrics=metrics,
    )
    data.run(model)
    assert (tmp_path / "door.csv").read_bytes() == (tmp_path / "p.csv").read_bytes()
    table = read_predictions(tmp_path / "p.csv")
    images = len({face.image_id for face in table.faces})
    assert metrics.metadata == {"faces": float(len(table.faces)), "images": float(images), "failed": 0.0}


def test_a_damaged_member_of_a_zip_counts_as_failed(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "photos.zip"
    good, damaged = (picture(np.random.default_rng(seed), "PNG") for seed in (0, 1))
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.png", good)
        archive.writestr("b.png", damaged)
    file.write_bytes(file.read_bytes().replace(damaged, damaged[:-9] + b"X" + damaged[-8:]))
    with pytest.raises(InputError, match=r"truncated 1.*b.png: the ZIP archive is damaged there: Bad CRC-32"):
        predict(model, file, None, tmp_path / "p.csv")
    report = predict(model, file, None, tmp_path / "p.csv", max_failed=1)
    assert (report.failed, report.faces) == ({"truncated": 1}, 1)
