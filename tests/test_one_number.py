"""The same face has the same probabilities in the checkpoint, in `predict`'s table and at the endpoint."""

import csv
import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from starlette.testclient import TestClient

from components.export_onnx.export import export
from components.ingest.ingest import ingest
from components.predict.predict import predict
from components.shared.dataset.annotations import read_annotations
from components.shared.dataset.label_spaces import label_space
from components.shared.models.checkpoint import load_checkpoint
from components.shared.models.network import head_probabilities
from components.split.split import split
from components.train_classifier.config.training import TrainConfig
from components.train_classifier.data.faces import select_faces
from components.train_classifier.data.loader import FaceDataset
from components.train_classifier.train import train
from pipelines.samples.profiles import draw_sample
from serving.runtime.image.header import DEFAULT_MAX_PIXELS, read_header
from serving.runtime.image.placement import crop_rect
from serving.runtime.image.preprocess import decode_crop_resize, decode_rect_resize
from serving.runtime.load import load_model
from serving.server.http.app import create_app
from serving.server.state import ModelRepository, ServerState

TOLERANCE = 1e-3
MASKS = {"incorrect_mask": "incorrect", "normal": "absent"}


def write_manifest(folder: Path) -> None:
    """Every second face gets a box, so that both kinds of cut are compared."""
    rows = []
    for file in sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")):
        person, gender, _, age = file.parent.name.split("_")
        box = ("20", "24", "76", "104") if len(rows) % 2 else ("", "", "", "")
        rows.append((f"{file.parent.name}/{file.name}", MASKS.get(file.stem, "worn"), gender, age, person, *box))
    with (folder / "manifest.csv").open("w", newline="") as table:
        writer = csv.writer(table)
        writer.writerow(("path", "mask", "gender", "age", "group", "xmin", "ymin", "xmax", "ymax"))
        writer.writerows(rows)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("one_number")
    draw_sample(folder / "raw", persons=18)
    write_manifest(folder / "raw")
    build(folder, folder / "raw")
    return folder


def build(folder: Path, raw: Path) -> None:
    ingest(str(raw), folder / "images", folder / "annotations", format="manifest", options={"no_box": "keep"})
    split(folder / "annotations", folder / "split", label_space="gender", val_ratio=0.2, test_ratio=0.3, seed=0)
    config = TrainConfig(label_space="all", model="base", epochs=1, image_height=40, image_width=32, workers=0)
    train(config, folder / "images", folder / "split", folder / "checkpoints")
    export(folder / "checkpoints", folder / "model", name="one")
    predict(folder / "model", folder / "images", folder / "split", folder / "predictions")


def test_checkpoint_table_and_endpoint_agree(folder: Path) -> None:
    checkpoint = load_checkpoint(folder / "checkpoints" / "best.pt")
    network = checkpoint.network()
    client = TestClient(create_app(ServerState(models=ModelRepository(load_model(str(folder / "model"))))))
    faces = {image.file_name: image.faces[0] for image in read_annotations(folder / "split").images}
    with (folder / "predictions").open(newline="") as table:
        rows = list(csv.DictReader(table))
    assert len(rows) > 20
    assert {bool(row["x"]) for row in rows} == {True, False}
    for row in rows:
        data = (folder / "raw" / row["path"]).read_bytes()
        box = faces[row["path"]].box
        size = read_header(data, DEFAULT_MAX_PIXELS).upright
        rect = crop_rect(size, box, checkpoint.crop, checkpoint.input)
        pixels = decode_rect_resize(data, rect, size, checkpoint.input, checkpoint.crop.min_decode)
        with torch.inference_mode():
            logits = network(torch.from_numpy(pixels[None]))
        torch_heads = head_probabilities(logits, [len(head.labels) for head in checkpoint.heads])
        query = f"?box={','.join(map(str, box))}" if box else ""
        answer = client.post(f"/predict{query}", content=data).json()["faces"][0]
        assert answer["crop"] == ("box" if box else "whole image")
        for head, from_torch in zip(checkpoint.heads, torch_heads, strict=True):
            served = [answer["heads"][head.name]["probabilities"][label] for label in head.labels]
            predicted = [float(row[f"{head.name}/{label}"]) for label in head.labels]
            np.testing.assert_allclose(from_torch[0].numpy(), predicted, atol=TOLERANCE, rtol=0)
            np.testing.assert_allclose(served, predicted, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("augmentation", ["GoodAugmentation", "BestAugForAlbum", "Aug0"])
def test_a_preset_with_a_frame_is_trained_and_served_on_the_same_pixels(
    folder: Path, tmp_path: Path, augmentation: str
) -> None:
    """Validation and serving once cut another part than training."""
    config = TrainConfig(
        **{"label_space": "mask", "model": "base", "epochs": 1, "image_height": 40, "image_width": 32, "workers": 0},
        augmentation=augmentation,
    )
    train(config, folder / "images", folder / "split", tmp_path / "checkpoints")
    export(tmp_path / "checkpoints", tmp_path / "model", name="framed")
    predict(tmp_path / "model", folder / "images", folder / "split", tmp_path / "predictions")
    network, model = (
        load_checkpoint(tmp_path / "checkpoints" / "best.pt").network(),
        load_model(str(tmp_path / "model")),
    )
    client = TestClient(create_app(ServerState(models=ModelRepository(model))))
    labels = model.card.heads[0].labels
    content = read_annotations(folder / "split")
    faces = select_faces(content, label_space("mask"), "test").labeled
    shown = FaceDataset(folder / "images", faces, config, augmented=False)
    with (tmp_path / "predictions").open(newline="") as table:
        rows = {int(row["face_id"]): row for row in csv.DictReader(table)}
    assert len(rows) == len(faces) > 20 and {face.box is None for face in faces} == {True, False}
    for face in faces:
        data = (folder / "raw" / face.file_name).read_bytes()
        pixels = shown.pixels(face)
        for box in (face.box, None):
            np.testing.assert_array_equal(pixels, decode_crop_resize(data, box, model.card))
        query = f"?box={','.join(map(str, face.box))}" if face.box else ""
        answer = client.post(f"/predict{query}", content=data).json()["faces"][0]
        assert answer["crop"] == ("whole image" if augmentation == "Aug0" else "frame")
        served = [answer["heads"]["mask"]["probabilities"][label] for label in labels]
        with torch.inference_mode():
            (trained,) = head_probabilities(network(torch.from_numpy(pixels[None])), [3])
        np.testing.assert_allclose(served, trained[0].numpy(), atol=TOLERANCE, rtol=0)
        predicted = [float(rows[face.face_id][f"mask/{label}"]) for label in labels]
        np.testing.assert_allclose(served, predicted, atol=TOLERANCE, rtol=0)


def test_the_same_seed_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    build(tmp_path, folder / "raw")
    for artifact in ("images/images-00000.zip", "annotations", "split", "model/model.onnx", "predictions"):
        first, second = (hashlib.sha256((top / artifact).read_bytes()).hexdigest() for top in (folder, tmp_path))
        assert first == second, artifact
