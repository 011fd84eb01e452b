"""A whole batch prediction on this machine, of photos without labels."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_model import build_model, card_facts

from components.predict.predict import predict
from pipelines.environment.settings import Settings
from pipelines.local import summary
from pipelines.local.run import run
from pipelines.parameters.batch_prediction import BatchPredictionConfig

pytestmark = pytest.mark.slow


def test_the_table_of_all_shards_is_that_of_one_prediction(home: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("a.png", "b/c.png", "b/d.png"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (60, 50, 3), dtype=np.uint8)).save(tmp_path / "photos" / name)
    heads = [{"name": "mask", "labels": ["worn", "incorrect", "absent"]}]
    (tmp_path / "model.onnx").write_bytes(build_model(card_facts(label_space="mask", heads=heads)))
    config = BatchPredictionConfig(
        source=str(tmp_path / "photos"), format="photos", models=[str(tmp_path / "model.onnx")], photos_per_shard=2
    )
    done = run(config, Settings.from_environment({"FACET_HOME": str(home)}), upload_after=False, echo=lambda _: None)
    assert (done.failed, done.error) == ("", "")
    assert {path.name for path in done.folder.glob("shard=*")} == {"shard=0", "shard=1"}
    ingested = done.folder / "ingest"
    predict(tmp_path / "model.onnx", ingested / "images", ingested / "annotations", tmp_path / "p", split="all")
    table = (done.folder / "gather-predictions/table").read_bytes()
    assert table == (tmp_path / "p").read_bytes() and table.count(b"\n") == 4
    assert (done.folder / "predictions.csv").read_bytes() == table
    assert f"table          {done.folder / 'predictions.csv'}" in summary.success(done, config)
