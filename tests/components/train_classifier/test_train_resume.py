"""A training that is killed ends in the same bits as one that is not."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import train_samples
from train_samples import config, same_weights

from components.shared.dataset.annotations import digest as file_digest
from components.shared.models.checkpoint import load_checkpoint
from components.shared.training.resumable_folder import resumable_folder
from components.train_classifier import record
from components.train_classifier.record import EPOCH_FILES
from components.train_classifier.train import train
from serving.runtime.errors import InputError, NotFoundError
from serving.runtime.storage import Location, make_bucket

MIXED: dict[str, Any] = {
    "epochs": 4,
    "network": {"head": {"kind": "dropout", "dropout": 0.3}},
    "mixing": {"name": "mixup", "probability": 0.7},
    "sampling": "inverse_frequency",
    "ema_decay": 0.8,
}
STATEFUL: dict[str, Any] = {
    "epochs": 9,
    "ema_decay": 0.0,
    "learning_rate": 0.02,
    "optimizer": {"name": "SGD_GC", "arguments": {"momentum": 0.9}, "sam": {"rho": 0.05}},
    "weight_decay": 0.001,
    "scheduler": {"name": "ReduceLROnPlateau", "arguments": {"patience": 0, "factor": 0.5}},
    "accumulate": 3,
    "clip_norm": 1.0,
    "pseudo_labels": {"enabled": True, "share": 0.2, "every": 1, "start": 4, "end": 10},
    "early_stopping": {"patience": 3, "monitor": "loss", "delta": 0.05},
}


Plan = tuple[str, dict[str, Any], list[Any]]


def run(dataset: Path, plans: list[Plan]) -> None:
    """Train with kills in a process of its own: see train_samples."""
    subprocess.run([sys.executable, train_samples.__file__, str(dataset), json.dumps(plans)], check=True)


def plain(value: Any) -> Any:
    """Replace every tensor inside by its bytes."""
    if isinstance(value, torch.Tensor):
        return value.contiguous().numpy().tobytes()
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    return [plain(entry) for entry in value] if isinstance(value, list | tuple) else value


def assert_same(one: Path, other: Path) -> None:
    names = sorted(path.name for path in one.iterdir())
    assert names == sorted(path.name for path in other.iterdir())
    assert {"best.pt", "best_acc.pt", "best_f1.pt", "last.pt"} <= set(names)
    for name in names:
        if name.endswith(".pt"):
            ours, theirs = load_checkpoint(one / name), load_checkpoint(other / name)
            assert same_weights(ours, theirs), name
            assert (ours.epoch, ours.metrics) == (theirs.epoch, theirs.metrics)
            assert plain(ours.training_state) == plain(theirs.training_state)
        elif name in ("history.json", "classes.txt", "predictions.png", "confusion_matrix.png"):
            assert (one / name).read_bytes() == (other / name).read_bytes(), name
    assert [path.name for path in other.parent.iterdir()] == [other.name], "nothing is left beside the output"


SETTINGS = {"mixed": MIXED, "stateful": STATEFUL}
PLACES = [
    ["step", 2], ["file", 1], ["file", 2], ["epoch", 1], ["epoch", 2], ["name", 1], ["step", 4], ["keep", 1],
    ["step", 3], ["end", 1],
]  # fmt: skip


FEW_PLACES = [["step", 2], ["file", 1], ["epoch", 2], ["file", 2], ["step", 4], ["end", 1]]


def campaign(dataset: Path, folder: Path, cases: dict[str, list[list[Any]]]) -> None:
    """For each of SETTINGS train once without and once with each list of kills, all in one process."""
    plans: list[Plan] = []
    for name, all_kills in cases.items():
        for number, kills in enumerate([[], *all_kills]):
            plans.append((str(folder / f"{name} {number}" / "out"), SETTINGS[name], kills))
    run(dataset, plans)
    for output, settings, kills in plans:
        if kills:
            whole = next(plan[0] for plan in plans if plan[1] is settings)
            assert_same(Path(whole), Path(output))


def moments(rounds: int, kills: int) -> list[list[Any]]:
    found: list[list[Any]] = np.random.default_rng().uniform(0, 0.9, size=(rounds, kills)).tolist()
    print(f"killed after the shares {found}")
    return found


def test_killed_at_any_moment(dataset: Path, tmp_path: Path) -> None:
    campaign(dataset, tmp_path, {"mixed": [FEW_PLACES], "stateful": moments(1, 2)})


@pytest.mark.slow
def test_killed_at_many_moments(dataset: Path, tmp_path: Path) -> None:
    campaign(dataset, tmp_path, {name: [PLACES, *moments(25, 4)] for name in SETTINGS})


def test_goes_on_from_another_place(dataset: Path, tmp_path: Path) -> None:
    """What a cluster's retry does: another machine, the same state."""
    state = tmp_path / "state"
    settings = SETTINGS["mixed"] | {"state": str(state)}
    with pytest.raises(RuntimeError, match="lost"):
        interrupted(dataset, tmp_path / "one" / "out", settings, after=2)
    shutil.rmtree(tmp_path / "one")
    (kept,) = state.iterdir()
    assert {path.name for path in kept.iterdir()} >= {"last.pt", "best.pt", "predictions.png"}
    again(dataset, tmp_path / "two" / "out", settings)
    again(dataset, tmp_path / "whole" / "out", SETTINGS["mixed"])
    assert_same(tmp_path / "whole" / "out", tmp_path / "two" / "out")
    assert not list(kept.iterdir()), "nothing of a training that is over is left"


def test_goes_on_from_another_place_in_s3(dataset: Path, tmp_path: Path, s3: Any) -> None:
    make_bucket("trainings")
    settings = SETTINGS["mixed"] | {"state": "s3://trainings/unfinished/"}
    with pytest.raises(RuntimeError, match="lost"):
        interrupted(dataset, tmp_path / "one" / "out", settings, after=2)
    shutil.rmtree(tmp_path / "one")
    assert [entry.path.rpartition("/")[2] for entry in Location("s3://trainings/unfinished").list()].count("last.pt")
    again(dataset, tmp_path / "two" / "out", settings)
    again(dataset, tmp_path / "whole" / "out", SETTINGS["mixed"])
    assert_same(tmp_path / "whole" / "out", tmp_path / "two" / "out")
    assert not Location("s3://trainings").list()


def again(dataset: Path, output: Path, settings: dict[str, Any]) -> None:
    train(config(**settings), dataset / "images", dataset / "annotations.json", output)


def interrupted(dataset: Path, output: Path, settings: dict[str, Any], after: int) -> None:
    """Raise RuntimeError when `after` epochs have been written."""
    with pytest.MonkeyPatch.context() as patch:
        calls = iter(range(after))
        original = record.Recorder.epoch

        def epoch(*arguments: Any) -> None:
            if next(calls, None) is None:
                raise RuntimeError("the machine is lost")
            original(*arguments)

        patch.setattr(record.Recorder, "epoch", epoch)
        again(dataset, output, settings)


def test_an_output_of_another_configuration_begins_anew(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="lost"):
        interrupted(dataset, tmp_path / "out", {}, after=1)
    again(dataset, tmp_path / "other" / "out", {"seed": 3})
    again(dataset, tmp_path / "out", {"seed": 3})
    ours, theirs = (load_checkpoint(tmp_path / name / "last.pt") for name in ("other/out", "out"))
    assert same_weights(ours, theirs)


def test_two_processes_cannot_train_the_same_at_once(dataset: Path, tmp_path: Path) -> None:
    content = config()
    digest = content.digest(file_digest(dataset / "annotations.json"))
    with (
        resumable_folder(tmp_path / "out", digest, "", EPOCH_FILES),
        pytest.raises(InputError, match="another process is training this"),
    ):
        again(dataset, tmp_path / "out", {})


def test_a_training_is_made_longer(dataset: Path, tmp_path: Path) -> None:
    settings = {"scheduler": "constant", "ema_decay": 0.5}
    again(dataset, tmp_path / "short", settings)
    again(dataset, tmp_path / "long", settings | {"epochs": 4, "resume": str(tmp_path / "short")})
    again(dataset, tmp_path / "whole", settings | {"epochs": 4})
    ours, theirs = (load_checkpoint(tmp_path / name / "last.pt") for name in ("long", "whole"))
    assert same_weights(ours, theirs) and ours.metrics == theirs.metrics
    assert len(json.loads((tmp_path / "long" / "history.json").read_text())) == 4
    for entries, message in [
        ({"epochs": 2}, "has had 2 epochs already; raise epochs"),
        ({"epochs": 4, "learning_rate": 0.5}, r"configured differently: learning_rate \(there 0.001, here 0.5\)"),
    ]:
        with pytest.raises(InputError, match=message):
            again(dataset, tmp_path / "no", settings | entries | {"resume": str(tmp_path / "short" / "last.pt")})
    (tmp_path / "part").mkdir()
    shutil.copy(tmp_path / "short" / "last.pt", tmp_path / "part")
    with pytest.raises(InputError, match="lacks best.pt, best_f1.pt, best_acc.pt; name the whole folder"):
        again(dataset, tmp_path / "no", settings | {"epochs": 4, "resume": str(tmp_path / "part")})
    with pytest.raises(NotFoundError, match="there is no last.pt"):
        again(dataset, tmp_path / "no", settings | {"resume": str(tmp_path)})
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")], "a refusal leaves nothing"
