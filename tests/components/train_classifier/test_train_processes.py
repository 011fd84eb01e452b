"""Several processes train one network."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from train_samples import config, write_dataset

from components.shared.models.checkpoint import load_checkpoint


def launch(processes: int, folder: Path, output: str, **entries: Any) -> list[dict[str, float]]:
    (folder / f"{output}.yaml").write_text(yaml.safe_dump(config(**entries).model_dump(mode="json")))
    subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes),
            "-m", "components.train_classifier", f"{folder}/{output}.yaml", "--images", f"{folder}/images",
            "--annotations", f"{folder}/annotations.json", "--checkpoints", f"{folder}/{output}",
        ],
        check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    rows: list[dict[str, float]] = json.loads((folder / output / "history.json").read_text())
    return rows


@pytest.mark.slow
def test_two_processes_train_as_one_does(tmp_path: Path) -> None:
    """Nothing in the network depends on the neighbors in a batch, so the loss curves are one."""
    write_dataset(tmp_path)
    entries: dict[str, Any] = {"model": "train_samples:Plain", "epochs": 6, "learning_rate": 0.01}
    entries |= {"augmentation": {"arguments": {"erasing": 0.0}}, "sampling": "class_balanced"}
    entries |= {"optimizer": {"sam": {}}, "accumulate": 2}
    # One unlabeled face in every batch: the second process has none.
    entries |= {"pseudo_labels": {"enabled": True, "share": 0.125, "every": 1, "start": 0, "end": 4}}
    one = launch(1, tmp_path, "one", **entries)
    two = launch(2, tmp_path, "two", **entries)
    assert [row.keys() for row in one] == [row.keys() for row in two]
    curves = [np.array([[row[name] for name in sorted(row)] for row in rows]) for rows in (one, two)]
    np.testing.assert_allclose(curves[0], curves[1], atol=1e-4)
    assert one[-1]["train_loss"] < one[0]["train_loss"] - 0.01, "it has to learn for this to mean something"


@pytest.mark.slow
def test_two_processes_with_batch_norm_agree_on_one_network(tmp_path: Path) -> None:
    """Each process has batch statistics of its own, so the curves differ; the gap is printed."""
    write_dataset(tmp_path)
    entries: dict[str, Any] = {"epochs": 4, "early_stopping": {"patience": 4}}
    entries |= {"pseudo_labels": {"enabled": True, "share": 0.125, "every": 1, "start": 0, "end": 4}}
    one, two = (launch(count, tmp_path, name, **entries) for count, name in ((1, "one"), (2, "two")))
    gap = [a["train_loss"] - b["train_loss"] for a, b in zip(one, two, strict=True)]
    print("gap of the loss with batch norm:", gap)
    saved = load_checkpoint(tmp_path / "two" / "last.pt")
    assert saved.metrics == two[-1] and len(two) == 4
