"""One step of a training: its loss, its gradient, what bounds it and what stops it."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import one_hot
from train_samples import PLAIN, Run, config, history, labels_of, learner_of

from components.shared.models.checkpoint import load_checkpoint
from components.train_classifier.data.faces import read_data
from components.train_classifier.data.loader import FaceDataset, TrainOrder, make_loader
from components.train_classifier.learner import Learner
from components.train_classifier.loop import Part, take_step
from components.train_classifier.objective import mix, mixing_rng
from serving.runtime.errors import InputError


def cross(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return -(target * logits.log_softmax(1)).sum(1).mean()


def focal(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    true = (target * logits.softmax(1)).sum(1)
    return -((1 - true) ** 2 * true.log()).mean()


def weighted(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    weights = (target / target.sum(0).clamp_min(1)).sum(1)
    return -(weights * (target * logits.log_softmax(1)).sum(1)).sum() / weights.sum()


def angular(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return cross(30 * torch.cos(torch.acos(logits / 30) + 0.4 * target), target)


Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
LOSSES: dict[str, tuple[dict[str, Any], dict[str, Loss]]] = {
    "focal": ({"objective": {"loss": "focal"}}, {"mask": focal}),
    "label smoothing": (
        {"objective": {"loss": {"name": "label_smoothing", "arguments": {"smoothing": 0.3}}}},
        {"mask": lambda logits, target: cross(logits, 0.7 * target + 0.15 * (1 - target))},
    ),
    "class weights": (
        {"label_space": "age", "objective": {"loss": {"class_weights": "inverse"}}},
        {"age": weighted},
    ),
    "a margin": ({"objective": {}, "network": {"head": {"kind": "arcface"}}}, {"mask": angular}),
    "half-face band": ({"objective": {}, "mixing": {"name": "band", "probability": 1.0}}, {"mask": cross}),
    "certainty": (
        {"label_space": "gender", "objective": {}, "soft_targets": {"certainty": {"gender": 0.95}}},
        {"gender": lambda logits, target: cross(logits, 0.95 * target + 0.05 * (1 - target))},
    ),
    "three heads": (
        {
            "label_space": "all",
            "objective": {"loss": "focal", "heads": {"gender": {"name": "bce", "weight": 0.5}}},
        },
        {"mask": focal, "gender": lambda logits, target: 0.5 * cross(logits, target), "age": focal},
    ),
}
"""Name -> the entries of a training, and what the loss of each head is, from logits (N,K) and one-hot labels (N,K)."""


@pytest.mark.parametrize("name", LOSSES)
def test_the_loss_of_an_epoch_is_the_configured_one(dataset: Path, run: Run, name: str) -> None:
    """One step that moves nothing, against the formulas above."""
    entries, losses = LOSSES[name]
    entries = {
        "model": PLAIN, "augmentation": "none", "batch_size": 32, "epochs": 1,
        "optimizer": "SGD", "learning_rate": 1e-30, "weight_decay": 0, **entries,
    }  # fmt: skip
    settings = config(**entries)
    data = read_data(settings, dataset / "annotations.json")
    pictures = FaceDataset(dataset / "images", data.train.labeled, settings, augmented=True)
    (batch,) = make_loader(pictures, TrainOrder(settings, data.classes, 0), 0)
    labels = labels_of([data.train.labeled[index] for index in batch.indices])
    sizes = [2 if head == "gender" else 3 for head in losses]
    targets = [one_hot(torch.from_numpy(labels[head]), size).float() for head, size in zip(losses, sizes, strict=True)]
    mixed = mix(batch.images, targets, settings.mixing, mixing_rng(settings.seed, 0, 1))
    assert (mixed.ratio > 0) == ("mixing" in entries)
    with torch.no_grad():
        logits = torch.split(learner_of(dataset, **entries).network(mixed.images), sizes, dim=1)
    parts = zip(losses.values(), logits, mixed.targets, strict=True)
    (row,) = history(run(**entries))
    assert row["train_loss"] == pytest.approx(float(sum(loss(*part) for loss, *part in parts)), rel=1e-5)
    hits = [part.argmax(1) == target.argmax(1) for part, target in zip(logits, mixed.targets, strict=True)]
    assert row["train_accuracy"] == pytest.approx(float(torch.stack(hits).all(0).float().mean()))


def test_accumulation_changes_nothing_where_faces_do_not_meet(run: Run) -> None:
    one, parts = (load_checkpoint(run(str(n), model=PLAIN, accumulate=n) / "last.pt").model_state for n in (1, 3))
    for name in one:
        torch.testing.assert_close(one[name], parts[name], atol=1e-5, rtol=1e-4)


def batch_of(learner: Learner, weight: float = 1.0) -> list[Part]:
    images = torch.randint(0, 256, (6, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return [Part(images, [torch.eye(3)[[0, 1, 2, 0, 1, 2]]], weight)]


@pytest.mark.parametrize("sam", [None, {"rho": 0.05}])
def test_clipping_bounds_a_step(dataset: Path, sam: dict[str, float] | None) -> None:
    entries = {"model": PLAIN, "optimizer": {"name": "SGD", "sam": sam}, "weight_decay": 0, "learning_rate": 1.0}
    moves = []
    for clip in (None, 0.01):
        settings = config(**entries, clip_norm=clip, scheduler="constant")
        learner = learner_of(dataset, **entries, clip_norm=clip, scheduler="constant")
        before = [parameter.detach().clone() for parameter in learner.network.parameters()]
        take_step(learner, batch_of(learner), settings)
        squares = [((p.detach() - b) ** 2).sum() for p, b in zip(learner.network.parameters(), before, strict=True)]
        moves.append(float(torch.stack(squares).sum().sqrt()))
    assert moves[0] > 0.02 and moves[1] == pytest.approx(0.01, rel=1e-3)


def test_a_step_with_sam_takes_the_gradient_at_the_worst_point_near(dataset: Path) -> None:
    """Against the two passes written out."""
    entries = {"model": PLAIN, "optimizer": {"name": "SGD", "sam": {"rho": 0.5}}, "weight_decay": 0}
    entries |= {"learning_rate": 0.1, "scheduler": "constant", "objective": {}}
    learner = learner_of(dataset, **entries)
    network = learner_of(dataset, **entries).network
    ((images, (target,), *_),) = batch = batch_of(learner)
    parameters = list(network.parameters())
    start = [parameter.detach().clone() for parameter in parameters]

    def gradients() -> list[torch.Tensor]:
        return list(torch.autograd.grad(cross(network(images), target), parameters))

    first = gradients()
    norm = torch.cat([gradient.flatten() for gradient in first]).norm()
    with torch.no_grad():
        for parameter, gradient in zip(parameters, first, strict=True):
            parameter += 0.5 * gradient / norm
    second = gradients()
    take_step(learner, batch, config(**entries))
    for found, begun, near, far in zip(learner.network.parameters(), start, first, second, strict=True):
        torch.testing.assert_close(found.detach(), begun - 0.1 * far, rtol=1e-4, atol=1e-6)
        assert not torch.allclose(0.1 * near, 0.1 * far, rtol=1e-2, atol=1e-5)


@pytest.mark.parametrize("sam", [None, {"rho": 0.05}])
def test_an_overflow_under_float16_leaves_the_step_out_and_scales_less(dataset: Path, sam: Any) -> None:
    entries = {"model": PLAIN, "amp": "fp16", "optimizer": {"name": "AdamW", "sam": sam}}
    learner = learner_of(dataset, **entries)
    learner.scaler.load_state_dict(learner.scaler.state_dict() | {"scale": 2.0**40})
    before = [parameter.detach().clone() for parameter in learner.network.parameters()]
    take_step(learner, batch_of(learner), config(**entries))
    assert all(torch.equal(p, b) for p, b in zip(learner.network.parameters(), before, strict=True))
    assert learner.scaler.get_scale() == 2.0**39
    learner.scaler.load_state_dict(learner.scaler.state_dict() | {"scale": 1.0})
    take_step(learner, batch_of(learner), config(**entries))
    assert not any(torch.equal(p, b) for p, b in zip(learner.network.parameters(), before, strict=True))


@pytest.mark.parametrize(
    "entries", [{"amp": "bf16"}, {"amp": "fp16"}, {"optimizer": {"sam": {}}}, {"accumulate": 2}], ids=str
)
def test_what_is_not_finite_names_its_pictures_on_every_path(run: Run, tmp_path: Path, entries: Any) -> None:
    with pytest.raises(InputError, match=r"(loss|gradient) is (nan|inf) in epoch \d: lower learning_rate.*\d+\.jpg"):
        run(learning_rate=1e30, scheduler="constant", **entries)
    assert list(tmp_path.iterdir()) == []


def test_a_gradient_that_is_not_finite_leaves_the_weights_unchanged(dataset: Path) -> None:
    learner = learner_of(dataset, model=PLAIN)
    before = [parameter.detach().clone() for parameter in learner.network.parameters()]
    with pytest.raises(FloatingPointError, match="the gradient is"):
        take_step(learner, batch_of(learner, weight=math.inf), config(model=PLAIN))
    assert all(torch.equal(p, b) for p, b in zip(learner.network.parameters(), before, strict=True))
