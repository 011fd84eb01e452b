"""How good a model from real photos is: `FACET_PHOTOS` names their folder, without it nothing is measured."""

import os
import statistics
import time
from pathlib import Path

import pytest

from components.evaluate.evaluate import evaluate
from components.export_onnx.export import export
from components.ingest.ingest import ingest
from components.predict.predict import predict
from components.split.split import split
from components.train_classifier.config import resolve_config
from components.train_classifier.train import train
from pipelines.config import resolve
from pipelines.parameters import SHARED

SEEDS = (0, 1, 2)


@pytest.mark.slow
def test_mask_states_of_people_never_seen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Macro F1 of the exported model on a fifth of the scene groups, the mean of three seeds."""
    if not os.environ.get("FACET_PHOTOS"):
        pytest.skip("FACET_PHOTOS is not set")
    config = resolve("mask3")
    images, annotations = tmp_path / "images", tmp_path / "annotations"
    ingest(config.source, images, annotations, format=config.format, options=config.ingest_options)
    scores = []
    for seed in SEEDS:
        folder = tmp_path / str(seed)
        folder.mkdir()
        ratios = {"val_ratio": config.val_ratio, "test_ratio": config.test_ratio}
        split(annotations, folder / "split", label_space=config.label_space, seed=seed, **ratios)
        knobs = {name: getattr(config, name) for name in SHARED} | {"seed": seed}
        began, cpu = time.monotonic(), time.process_time()
        train(resolve_config(config.training, **knobs), images, folder / "split", folder / "checkpoints")
        wall, cpu = time.monotonic() - began, time.process_time() - cpu
        export(folder / "checkpoints", folder / "model", checkpoint=config.checkpoint, name=config.model_name)
        predict(folder / "model", images, folder / "split", folder / "predictions")
        metrics = evaluate(folder / "predictions", folder / "split", folder / "report", floors={}).metrics
        scores.append(metrics["macro_f1"])
        with capsys.disabled():
            print(f"\nmask3 seed {seed}: macro F1 {scores[-1]:.3f}, training {wall:.0f} s wall, {cpu:.0f} s CPU")
    assert statistics.mean(scores) >= 0.83
