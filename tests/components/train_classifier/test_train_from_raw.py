"""Options of a training whose faces must come through the steps before it: a config, raw pictures, a scored model."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from train_samples import MASKS, draw

from components.curate.curate import curate
from components.evaluate.evaluate import Evaluation, evaluate
from components.export_onnx.export import export
from components.ingest.ingest import ingest
from components.predict.predict import predict
from components.shared.dataset.annotations import Annotations, read_annotations
from components.split.split import split
from components.train_classifier.config.training import resolve_config
from components.train_classifier.data.faces import Data, read_data
from components.train_classifier.train import train
from pipelines.classification import ClassificationConfig
from pipelines.command.config import resolve
from serving.runtime.load import load_model

PERSONS = 24
TINY = {"model": "base", "epochs": 1, "batch_size": 8, "image_height": 32, "image_width": 32}
Rows = list[dict[str, Any]]


def rows(unlabeled: bool = False) -> Rows:
    """Three pictures of each person, one of every mask state; `unlabeled` takes the label from a third of the rows."""
    return [
        {
            "path": f"{person}/{number}.jpg",
            "mask": "" if unlabeled and (person + number) % 3 == 0 else MASKS[number],
            "age": 20 + person,
            "person": f"p{person}",
        }
        for person in range(PERSONS)
        for number in range(3)
    ]


def write_manifest(folder: Path, table: Rows) -> dict[str, Any]:
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    return {"format": "manifest"}


def write_coco(folder: Path, table: Rows) -> dict[str, Any]:
    images = [
        {"id": at, "file_name": row["path"], "width": 36, "height": 44, "person": row["person"]}
        for at, row in enumerate(table)
    ]
    annotations = [
        {"id": at, "image_id": at, "category_id": 1, "whole_image": True, "attributes": row["attributes"]}
        for at, row in enumerate(table)
    ]
    document = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "face"}]}
    (folder / "coco.json").write_text(json.dumps(document))
    return {"format": "coco"}


class Chain:
    """The steps of the classification pipeline, one after the other, from a config file."""

    def __init__(self, folder: Path, table: Rows, write: Any = write_manifest, **entries: Any) -> None:
        self.folder = folder
        rng = np.random.default_rng(0)
        for number, row in enumerate(table):
            path = folder / "raw" / row["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(draw(number % 3, rng))
        content = {"source": str(folder / "raw"), "label_space": "mask", **TINY, **write(folder / "raw", table)}
        (folder / "config.yaml").write_text(yaml.safe_dump({**content, **entries}))
        config = resolve(str(folder / "config.yaml"), [])
        assert isinstance(config, ClassificationConfig)
        self.config = config
        self.report = ingest(
            config.source, folder / "images", folder / "all.json", format=config.format, options=config.ingest_options
        )
        curate(folder / "all.json", folder / "curated.json", config.curation)
        self.divided = split(
            folder / "curated.json",
            folder / "split.json",
            label_space=config.label_space,
            val_ratio=config.val_ratio,
            test_ratio=config.test_ratio,
            options=config.split_options,
        )
        parameters = config.training_arguments()
        self.training = resolve_config({"workers": 0, **parameters.pop("training")}, **parameters)

    def data(self) -> Data:
        return read_data(self.training, self.folder / "split.json")

    def annotations(self) -> Annotations:
        return read_annotations(self.folder / "split.json")

    def evaluated(self) -> Evaluation:
        folder = self.folder
        train(self.training, folder / "images", folder / "split.json", folder / "checkpoints")
        export(folder / "checkpoints", folder / "model", checkpoint="best", name="faces")
        predict(folder / "model", folder / "images", folder / "split.json", folder / "predictions.csv")
        return evaluate(folder / "predictions.csv", folder / "split.json", folder / "report.html")


@pytest.fixture(autouse=True)
def untracked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "SM_CHANNEL_TRAIN"):
        monkeypatch.delenv(name, raising=False)


PSEUDO = {"enabled": True, "share": 0.5, "every": 1, "start": 0, "end": 0}


def test_a_third_of_the_rows_without_a_label_is_trained_on_with_pseudo_labels(tmp_path: Path) -> None:
    chain = Chain(tmp_path, rows(unlabeled=True), training={"pseudo_labels": PSEUDO})
    data = chain.data()
    assert chain.divided.unlabeled == PERSONS
    counts = data.counts()
    assert counts["unlabeled_faces"] == chain.divided.unlabeled_train > PERSONS / 2
    assert counts["train_faces"] == chain.divided.images["train"]
    evaluated = chain.evaluated()
    assert np.sum(evaluated.confusion) == chain.divided.images["test"]
    card = load_model(str(tmp_path / "model")).card
    assert card.pseudo_labels is not None and card.pseudo_labels.share == 0.5
    assert "left out" not in (tmp_path / "report.html").read_text(), "no unlabeled face is in the test split"


def test_unlabeled_rows_are_trained_on_in_every_fold(tmp_path: Path) -> None:
    chain = Chain(
        tmp_path, rows(unlabeled=True), split_options={"mode": "kfold", "folds": 3}, training={"pseudo_labels": PSEUDO}
    )
    for fold in range(3):
        options = {"mode": "fold", "k_index": fold, "val": False}
        split(tmp_path / "split.json", tmp_path / f"{fold}.json", label_space="mask", options=options)
        data = read_data(chain.training, tmp_path / f"{fold}.json")
        held_out = {image.person for image in data.annotations.images if image.split == "test"}
        in_train = {image.person for image in data.annotations.images if image.split == "train"}
        assert held_out and not held_out & in_train
        assert data.counts()["unlabeled_faces"] == sum(
            image.person not in held_out and "mask" not in image.faces[0].attributes
            for image in data.annotations.images
        )


def test_soft_targets_of_a_coco_file_are_the_targets_of_the_training(tmp_path: Path) -> None:
    """A face may have them beside its label, or instead of one; val and test are measured by labels alone."""
    table = [
        {**row, "attributes": {"mask": row["mask"], "soft_targets": {"mask": {"worn": 0.25, "absent": 0.75}}}}
        for row in rows()
    ]
    for row in table[::6]:
        del row["attributes"]["mask"]
    chain = Chain(tmp_path, table, write_coco)
    data = chain.data()
    assert len(data.train.labeled) > chain.divided.images["train"] and not data.train.unlabeled
    np.testing.assert_allclose(data.train.targets[0], np.tile([0.25, 0, 0.75], (len(data.train.labeled), 1)))
    assert set(np.unique(data.val.targets[0])) == {0, 1}
    chain.evaluated()


def test_persons_of_a_table_have_uncertain_targets(tmp_path: Path) -> None:
    (tmp_path / "persons.csv").write_text("person\n" + "\n".join(f"p{person}" for person in range(0, PERSONS, 2)))
    soft = {"uncertain": {"mask": str(tmp_path / "persons.csv")}, "certainty": {"mask": 0.9}}
    data = Chain(tmp_path, rows(), training={"soft_targets": soft}).data()
    persons = {image.file_name: int(str(image.person)[1:]) for image in data.annotations.images}
    for face, target in zip(data.train.labeled, data.train.targets[0], strict=True):
        assert target.max() == pytest.approx(0.9 if persons[face.file_name] % 2 else 1 / 3)


def test_ages_that_curate_drops_are_in_no_training(tmp_path: Path) -> None:
    chain = Chain(tmp_path, rows(), curation=[{"drop_ages": {"ranges": [[25, 30]]}}])
    ages = [face.attributes["age"] for face in chain.data().train.labeled]
    assert ages and not any(25 <= age <= 30 for age in ages)
    assert chain.divided.not_trainable > 0
    chain.evaluated()


def test_sampling_by_an_attribute_of_the_table(tmp_path: Path) -> None:
    chain = Chain(tmp_path, rows(), training={"sampling": {"name": "class_balanced", "by": "age"}})
    data = chain.data()
    assert data.classes.tolist() == [int(face.attributes["age"] >= 30) for face in data.train.labeled]
    chain.evaluated()
