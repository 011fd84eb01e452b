"""Every option of a training, through the whole loop on tiny drawn faces."""

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics import f1_score
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from train_samples import PLAIN, Run, config, history, labels_of, learner_of, same_weights

from components.shared.dataset.archive import ImageArchive
from components.shared.dataset.label_spaces import label_space
from components.shared.models.checkpoint import load_checkpoint
from components.shared.training.processes import Processes
from components.train_classifier.augmentations.build import Augmentation
from components.train_classifier.config.training import TrainConfig
from components.train_classifier.data.faces import read_data
from components.train_classifier.data.loader import FaceDataset, fixed_order, make_loader
from components.train_classifier.loop import Validation, validate
from components.train_classifier.train import train
from serving.runtime.errors import InputError


def scalars(folder: Path, name: str) -> dict[int, float]:
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return {event.step: event.value for event in events.Scalars(name)}


RECIPES: dict[str, tuple[dict[str, Any], int]] = {
    "18 outputs": ({"label_space": "mask_gender_age"}, 18),
    "gender with one logit and BCE": (
        {"label_space": "gender", "network": {"head": {"one_logit": True}}, "objective": {"loss": "bce"}},
        2,
    ),
    "age": ({"label_space": "age"}, 3),
    "three heads, focal, own loss for one": (
        {
            "label_space": "all",
            "objective": {"loss": "focal", "heads": {"gender": {"name": "bce", "weight": 0.5}}},
            "network": {"heads": {"gender": {"one_logit": True}}},
        },
        8,
    ),
    "centralized Adam": ({"optimizer": "Adam_GC", "weight_decay": 5e-4}, 3),
    "multi-sample dropout": (
        {"network": {"head": {"kind": "multi_sample_dropout", "dropout": 0.5, "samples": 3}}},
        3,
    ),
    "gender smoothed and uncertain persons": (
        {"label_space": "mask_gender_age", "soft_targets": {"certainty": {"gender": 0.95}}},
        18,
    ),
    "ArcFace, focal, SGD with momentum": (
        {
            "network": {"head": {"kind": "arcface"}},
            "objective": {"loss": {"name": "focal", "arguments": {"gamma": 2}}},
            "optimizer": {"name": "SGD", "arguments": {"momentum": 0.9}},
        },
        3,
    ),
    "plateau": ({"scheduler": {"name": "ReduceLROnPlateau", "monitor": "f1"}}, 3),
    "half-face band": ({"mixing": {"name": "band", "probability": 1.0}}, 3),
    "class weights, sampler by another space": (
        {
            "objective": {"loss": {"name": "cross_entropy", "class_weights": "inverse"}},
            "sampling": {"name": "inverse_frequency", "by": "age"},
        },
        3,
    ),
    "mixup with ArcFace in bfloat16": (
        {"mixing": {"name": "mixup", "probability": 1}, "network": {"head": {"kind": "arcface"}}, "amp": "bf16"},
        3,
    ),
    "float16, SAM, accumulation, clipping": (
        {"amp": "fp16", "optimizer": {"sam": {"rho": 0.05}}, "accumulate": 3, "clip_norm": 0.5},
        3,
    ),
    "an augmentation by name": ({"augmentation": "Augmentation_384"}, 3),
    "an augmentation of one's own steps": (
        {"augmentation": {"name": "none", "steps": [{"name": "HorizontalFlip"}, {"name": "CLAHE"}]}},
        3,
    ),
    "cutmix, no channels-last, groups": (
        {
            "mixing": "cutmix",
            "channels_last": False,
            "optimizer": {"groups": {"backbone.fc": {"learning_rate": 0.1, "weight_decay": 0.0}}},
        },
        3,
    ),
}


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_train_and_are_recorded(run: Run, name: str) -> None:
    entries, outputs = RECIPES[name]
    folder = run(**entries)
    saved = load_checkpoint(folder / "last.pt")
    assert TrainConfig.model_validate(saved.config) == config(**entries)
    logits = saved.network()(torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8))
    assert logits.shape == (2, outputs) and torch.isfinite(logits).all()
    rows = history(folder)
    assert len(rows) == 2 and all(math.isfinite(value) for row in rows for value in row.values())


def test_frozen_weights_stay_bit_by_bit_and_the_head_learns(dataset: Path, run: Run) -> None:
    """Batch-norm statistics are weights too."""
    entries = {"model": "ResNet18Freeze", "network": {"pretrained": "none"}, "epochs": 1, "ema_decay": 0.0}
    before = learner_of(dataset, **entries).network.state_dict()
    after = load_checkpoint(run(**entries) / "last.pt").model_state
    changed = {name.split(".")[1] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"fc"}


def judged(dataset: Path, file: Path) -> tuple[dict[str, float], NDArray[np.int64], NDArray[np.int64]]:
    """The scores of a checkpoint's network on the 9 faces of val, their classes, and those that it gives them."""
    saved = load_checkpoint(file)
    settings = TrainConfig.model_validate(saved.config)
    faces = read_data(settings, dataset / "annotations.json").val.labeled
    labels = labels_of(faces)
    labels["gender_age"] = 3 * labels["gender"] + labels["age"]
    labels["mask_gender_age"] = 6 * labels["mask"] + labels["gender_age"]
    loader = make_loader(FaceDataset(dataset / "images", faces, settings, augmented=False), fixed_order(9, 9), 0)
    (batch,) = loader
    with torch.no_grad():
        logits = torch.split(saved.network()(batch.images), [len(head.labels) for head in saved.heads], dim=1)
    losses = sum(
        -part.log_softmax(1)[range(9), labels[head.name]] for head, part in zip(saved.heads, logits, strict=True)
    )
    assert isinstance(losses, torch.Tensor)
    guesses = [part.argmax(dim=1).numpy() for part in logits]
    guess = guesses[0] if len(guesses) == 1 else 6 * guesses[0] + 3 * guesses[1] + guesses[2]
    truth = labels["mask_gender_age" if settings.label_space == "all" else settings.label_space]
    scores = {
        "val_f1": f1_score(truth, guess, average="macro", zero_division=0),
        "val_accuracy": (truth == guess).mean(),
        "val_loss": float(losses.clamp_max(-math.log(np.finfo(np.float32).eps)).mean()),
    }
    return scores, truth, guess


@pytest.mark.parametrize("criterion", ["f1", "acc", "loss"])
def test_best_checkpoints_are_of_exactly_the_best_epochs(dataset: Path, run: Run, criterion: str) -> None:
    """The three criteria choose three epochs here."""
    folder = run(
        criterion=criterion, label_space="gender_age", epochs=6, learning_rate=0.05, scheduler="constant", seed=4,
        ema_decay=0.5, augmentation="none",
    )  # fmt: skip
    rows = history(folder)
    wanted = {
        "best_f1": max(rows, key=lambda row: (row["val_f1"], -row["val_loss"])),
        "best_acc": max(rows, key=lambda row: (row["val_accuracy"], -row["val_loss"])),
        "loss": min(rows, key=lambda row: row["val_loss"]),
    }
    assert len({row["epoch"] for row in wanted.values()}) == 3
    wanted["best"] = wanted.get(f"best_{criterion}", wanted["loss"])
    for name in ("best", "best_f1", "best_acc"):
        saved = load_checkpoint(folder / f"{name}.pt")
        assert (saved.epoch, saved.metrics) == (wanted[name]["epoch"], wanted[name]), name
        scores = judged(dataset, folder / f"{name}.pt")[0]
        assert {key: wanted[name][key] for key in scores} == pytest.approx(scores, rel=1e-5), name
    assert load_checkpoint(folder / "last.pt").epoch == 6


@pytest.mark.parametrize(
    "entries",
    [
        {"label_space": "mask_gender_age"},
        {"label_space": "mask_gender_age", "normalization": "computed"},
        {"label_space": "all", "network": {"heads": {"gender": {"one_logit": True}}}},
    ],
    ids=["18 classes", "computed normalization", "three heads"],
)
def test_scores_are_over_the_whole_set_with_its_last_partial_batch(
    dataset: Path, run: Run, entries: dict[str, Any]
) -> None:
    """9 faces in batches of 4; as scikit-learn counts them."""
    folder = run(batch_size=4, epochs=3, learning_rate=0.01, augmentation="none", **entries)
    for name in ("last", "best"):
        scores, truth, guess = judged(dataset, folder / f"{name}.pt")
        metrics = load_checkpoint(folder / f"{name}.pt").metrics
        assert {key: metrics[key] for key in scores} == pytest.approx(scores, rel=1e-5), name
    labels = label_space("mask_gender_age").class_labels
    hits, totals = np.bincount(truth[truth == guess], minlength=18), np.bincount(truth, minlength=18)
    table = [line.split()[:3] for line in (folder / "classes.txt").read_text().splitlines()[1:]]
    assert table == [[*map(str, row)] for row in zip(labels, hits, totals, strict=True)]
    assert 0 < hits.sum() < 9


@pytest.mark.parametrize("objective", [{}, {"loss": "focal"}])
def test_the_mean_loss_does_not_depend_on_how_faces_are_batched(run: Run, objective: dict[str, Any]) -> None:
    still = {"model": PLAIN, "learning_rate": 1e-30, "optimizer": "SGD", "epochs": 1, "objective": objective}
    losses = [
        history(run(f"{size} {parts}", batch_size=size, accumulate=parts, **still))[0]["train_loss"]
        for size, parts in [(24, 1), (24, 5), (7, 1), (10, 3)]
    ]
    assert losses == pytest.approx([losses[0]] * 4, rel=1e-5)


def test_early_stopping_stops(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is better by 9, so the first epoch is the best and three more are tried."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    folder = run(epochs=20, early_stopping={"patience": 3, "monitor": "loss", "delta": 9.0})
    assert len(history(folder)) == 4 == load_checkpoint(folder / "last.pt").epoch
    assert json.loads((folder / "config.json").read_text())["epochs_trained"] == 4
    assert list((tmp_path / "here").iterdir()) == [], "nothing is written where one happens to be"


def test_the_rate_of_a_schedule_reaches_the_steps(run: Run) -> None:
    schedule = {"name": "warmup_cosine", "arguments": {"warmup_ratio": 0.5, "min_ratio": 0.1}}
    rates = scalars(run(epochs=4, learning_rate=0.01, scheduler=schedule), "Train/learning_rate")
    # 3 steps an epoch, two epochs of warm-up from a tenth; reports after steps 2, 3, 4, 6, 8, 9, 10, 12.
    by_epoch = [0.001, 0.0055, 0.01, 0.001 + 0.009 * 0.5]
    assert rates == pytest.approx({step: by_epoch[(step - 1) // 3] for step in (2, 3, 4, 6, 8, 9, 10, 12)})


def test_pseudo_labels_are_off_by_default_and_recorded(run: Run, dataset: Path) -> None:
    """The one unlabeled face is in every batch, and changes what is learned."""
    entries = {"enabled": True, "share": 0.2, "every": 1, "start": 0, "end": 0}
    plain, pseudo = (
        load_checkpoint(run(n, **e) / "last.pt") for n, e in [("a", {}), ("b", {"pseudo_labels": entries})]
    )
    assert not plain.config["pseudo_labels"]["enabled"] and pseudo.config["pseudo_labels"]["enabled"]
    assert not same_weights(plain, pseudo)
    with pytest.raises(InputError, match="every face of the train split has a label of 'gender'"):
        run("c", label_space="gender", pseudo_labels=entries)


@pytest.mark.parametrize("size", [1, 5, 400])
def test_the_validation_has_a_batch_size_of_its_own_that_changes_no_result(run: Run, size: int) -> None:
    plain, other = run("plain"), run("other", validation_batch_size=size)
    assert same_weights(load_checkpoint(plain / "last.pt"), load_checkpoint(other / "last.pt"))
    for ours, theirs in zip(history(plain), history(other), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-5)
    one, two = (json.loads((folder / "config.json").read_text()) for folder in (plain, other))
    assert one["training_digest"] == two["training_digest"]


def test_what_needs_a_val_split_says_so(run: Run, dataset: Path, tmp_path: Path) -> None:
    text = (dataset / "annotations.json").read_text().replace('"val"', '"test"')
    (tmp_path / "annotations.json").write_text(text)
    for entries, message in [
        ({"early_stopping": {}}, "early_stopping watches the val split"),
        ({"scheduler": "ReduceLROnPlateau"}, "ReduceLROnPlateau watches the val split"),
    ]:
        with pytest.raises(InputError, match=message):
            train(config(**entries), dataset / "images", tmp_path / "annotations.json", tmp_path / "out")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_named(run: Run) -> None:
    with pytest.raises(InputError, match="there is no 'cuda:1', this machine has 0 GPUs"):
        run(device="cuda:1")


def test_a_computed_normalization_is_of_training_faces_and_is_kept(run: Run, dataset: Path) -> None:
    folder = run(normalization="computed", epochs=1)
    saved = load_checkpoint(folder / "best.pt")
    data = read_data(config(), dataset / "annotations.json")
    pictures = FaceDataset(dataset / "images", data.train.labeled, config(), augmented=False)
    pixels = np.stack([pictures[0, at][0] for at in range(len(data.train.labeled))]) / 255
    np.testing.assert_allclose(saved.normalization.mean, pixels.mean(axis=(0, 1, 2)), atol=1e-3)
    np.testing.assert_allclose(saved.normalization.std, pixels.std(axis=(0, 1, 2)), atol=1e-3)
    assert saved.config["normalization"] == "computed"
    facts = json.loads((folder / "config.json").read_text())
    assert facts["normalization"] == saved.normalization.model_dump(mode="json")


def test_every_face_is_read_and_cut_once_an_epoch(dataset: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: Counter[str] = Counter()
    read, train_pixels = ImageArchive.read, Augmentation.train_pixels

    def counted_read(self: ImageArchive, name: str, sha256: str | None = None) -> bytes:
        counts[name] += 1
        return read(self, name, sha256)

    def counted_pixels(self: Augmentation, *arguments: Any, **named: Any) -> Any:
        counts["train_pixels"] += 1
        return train_pixels(self, *arguments, **named)

    monkeypatch.setattr(ImageArchive, "read", counted_read)
    monkeypatch.setattr(Augmentation, "train_pixels", counted_pixels)
    run(model=PLAIN, epochs=3)
    assert counts == {f"{number}.jpg": 3 for number in range(33)} | {"train_pixels": 3 * 24}


def test_the_pictures_of_a_validation_are_those_of_their_faces(dataset: Path) -> None:
    settings = config(model=PLAIN)
    learner = learner_of(dataset, model=PLAIN)
    data = read_data(settings, dataset / "annotations.json")
    faces = FaceDataset(dataset / "images", data.val.labeled, settings, augmented=False)
    truth, shown = labels_of(data.val.labeled)["mask"], (1, 5, 8)
    loader = make_loader(faces, fixed_order(9, 4), 0)
    found = validate(learner, loader, truth, data.space, Processes(), shown).pictures
    for (pixels, true, guess), index in zip(found, shown, strict=True):
        expected = faces[0, index][0]
        np.testing.assert_array_equal(pixels, expected)
        assert true == truth[index]
        assert guess == learner.evaluated(torch.from_numpy(expected[None])).argmax()
    assert any(true != guess for _, true, guess in found)


def test_a_validation_is_the_same_in_the_order_of_several_processes(dataset: Path) -> None:
    settings = config(model=PLAIN)
    learner = learner_of(dataset, model=PLAIN)
    data = read_data(settings, dataset / "annotations.json")
    faces = FaceDataset(dataset / "images", data.val.labeled, settings, augmented=False)
    truth = labels_of(data.val.labeled)["mask"]

    def validated(order: Any) -> Validation:
        return validate(learner, make_loader(faces, order, 0), truth, data.space, Processes(), (1, 8))

    whole = validated(fixed_order(9, 4))
    parts = [batch for rank in (1, 0) for batch in fixed_order(9, 2, rank=rank, world=2)]
    assert len(set(map(tuple, whole.classes.confusion))) > 1
    gathered = validated(parts)
    assert gathered.scores == pytest.approx(whole.scores)
    for one, other in zip(gathered.pictures, whole.pictures, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        assert one[1:] == other[1:]


def test_height_comes_before_width(run: Run) -> None:
    saved = load_checkpoint(run(image_height=40, image_width=24, epochs=1) / "best.pt")
    assert (saved.input.height, saved.input.width) == (40, 24)


@pytest.mark.slow
def test_a_compiled_network_learns_the_same(run: Run) -> None:
    plain, compiled = (
        load_checkpoint(run(name, model=PLAIN, compile=name == "compiled") / "last.pt")
        for name in ("plain", "compiled")
    )
    for name, value in plain.model_state.items():
        torch.testing.assert_close(value, compiled.model_state[name], atol=1e-4, rtol=1e-3)
