"""What version 0.1.0 wrote still works: annotations, checkpoints, models with their cards, predictions.

The files in `written_before` come from drawn faces: `plain` is a small_resnet of width 2 that was trained with the
options of that time, `gabor` the same with a Gabor stem, two members, a linear member and a tight crop.
"""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

from components.evaluate.evaluate import evaluate
from components.export_onnx.export import export
from components.predict.predict import predict
from components.shared.dataset.annotations import read_annotations, write_annotations
from components.train_classifier.config.training import resolve_config
from components.train_classifier.train import train

OLD = Path(__file__).parent / "written_before"
RUNS = ("plain", "gabor")


def probabilities(file: Path) -> np.ndarray:
    with file.open(newline="") as table:
        rows = list(csv.DictReader(table))
    assert rows
    return np.array([[float(row[f"mask/{label}"]) for label in ("worn", "incorrect", "absent")] for row in rows])


@pytest.mark.parametrize("name", ["annotations.json", "split.json"])
def test_annotations_are_read_and_written_alike(name, tmp_path):
    write_annotations(read_annotations(OLD / name), tmp_path / name)
    assert (tmp_path / name).read_bytes() == (OLD / name).read_bytes()


@pytest.mark.parametrize("run", RUNS)
def test_a_model_predicts_what_it_predicted(run, tmp_path):
    predict(OLD / run, OLD / "images", OLD / "split.json", tmp_path / "predictions.csv")
    np.testing.assert_allclose(
        probabilities(tmp_path / "predictions.csv"), probabilities(OLD / run / "predictions.csv"), atol=1e-5
    )


@pytest.mark.parametrize("run", RUNS)
def test_a_checkpoint_gives_the_same_model(run, tmp_path):
    export(OLD / run, tmp_path / "model", checkpoint="best", name=run)
    predict(tmp_path / "model", OLD / "images", OLD / "split.json", tmp_path / "predictions.csv")
    np.testing.assert_allclose(
        probabilities(tmp_path / "predictions.csv"), probabilities(OLD / run / "predictions.csv"), atol=1e-5
    )


def test_predictions_are_evaluated(tmp_path):
    judged = evaluate(OLD / "gabor" / "predictions.csv", OLD / "split.json", tmp_path / "report.html", floors={})
    assert judged.metrics["accuracy"] == pytest.approx(0.7142857142857143)


def test_a_training_continues(tmp_path):
    before = tmp_path / "before"
    shutil.copytree(OLD / "plain", before)
    for name in ("best_f1.pt", "best_acc.pt"):
        shutil.copy(before / "best.pt", before / name)
    options = {
        "model": "small_resnet",
        "network": {"arguments": {"width": 2, "depth": 1}},
        "label_space": "mask",
        "epochs": 3,
        "batch_size": 8,
        "image_height": 32,
        "image_width": 32,
        "seed": 1,
        "workers": 0,
        "optimizer": {"name": "SGD", "arguments": {"momentum": 0.9}, "gradient_centralization": True},
        "scheduler": "cosine_cycle",
        "augmentation": {"arguments": {"rotation": 10}},
        "resume": str(before),
    }
    train(resolve_config(options), OLD / "images", OLD / "split.json", tmp_path / "checkpoints")
    history = (tmp_path / "checkpoints" / "history.json").read_text()
    assert history.count('"epoch"') == 3
