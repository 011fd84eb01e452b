"""The configs of the recipes that Facet replaces: what they say, and that each of them trains."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from train_samples import write_dataset

from components.shared.dataset.annotations import read_annotations, write_annotations
from components.shared.dataset.label_spaces import label_space
from components.shared.models.checkpoint import load_checkpoint
from components.shared.training.processes import Processes
from components.train_classifier.config.training import IMAGENET, TrainConfig, resolve_config
from components.train_classifier.data.faces import read_data
from components.train_classifier.learner import new_learner
from components.train_classifier.train import train
from pipelines.command.config import resolve
from pipelines.parameters.model import SHARED

# fmt: off
FOCAL = {"loss.name": "focal", "loss.gamma": 2}
PLAIN = {"loss.name": "cross_entropy", "loss.label_smoothing": None}
UNSCALED = {"normalization": ([0, 0, 0], [1, 1, 1])}
B3 = FOCAL | {
    "backbone": "efficientnet_b3", "keep_classes": True, "pretrained": "imagenet", "freeze": "none",
    "head.kind": "multi_sample_dropout", "head.samples": 5, "head.dropout": 0.5, "head.initialization": "xavier",
    "size": (300, 300), "epochs": 30, "batch": 64, "seed": 42,
    "augmentation": "BestAugForAlbum", "frame": (12 / 384, 76 / 512, 372 / 384, 436 / 512),
    "normalization": ([0.548, 0.504, 0.479], [0.237, 0.247, 0.246]),
    "optimizer": "AdamW", "lr": 1e-4, "weight_decay": 5e-4, "rates": [1e-4] * 20 + [5e-5] * 10,
}
B0 = {
    "backbone": "efficientnet_b0", "pretrained": "imagenet",
    "head.kind": "hidden", "head.hidden": 512, "head.dropout": 0.5,
    "size": (256, 192), "epochs": 25, "batch": 64, "seed": 815,
    "augmentation": "Aug0", "frame": (0, 0, 1, 1), "normalization": "computed",
    "optimizer": "Adam", "centralized": True, "lr": 1e-3, "weight_decay": 5e-4,
    "rates": [1e-3 * (0.05 + 0.95 * epoch / 2) for epoch in range(2)]
    + [1e-3 * (0.05 + 0.95 * (1 + math.cos(math.pi * (epoch - 2) / 23)) / 2) for epoch in range(2, 25)],
}
EMOTION = {"label_space": "emotion", "size": (224, 224), "frame": None}
RECIPES: dict[str, dict[str, Any]] = {
    "emotion_resnet50_probe": EMOTION | PLAIN | UNSCALED | {
        "backbone": "resnet50", "pretrained": "imagenet", "freeze": "backbone",
        "head.kind": "dropout", "head.dropout": 0.3, "epochs": 20, "batch": 16, "seed": 2024, "augmentation": "none",
        "optimizer": "AdamW", "lr": 1e-3, "weight_decay": 0.01,
        "rates": [1e-6 + (1e-3 - 1e-6) * (1 + math.cos(math.pi * epoch / 10)) / 2 for epoch in range(20)],
    },
    "emotion_poster_v2": EMOTION | PLAIN | {
        "backbone": "poster_v2", "epochs": 50, "batch": 144,
        "augmentation": "poster_v2_kfe_db", "normalization": "imagenet",
        "optimizer": "Adam", "sam": 0.05, "lr": 3.5e-5, "weight_decay": 0,
        "rates": [3.5e-5 * 0.98**epoch for epoch in range(50)],
    },
    "mask_arcface_resnet18": FOCAL | {
        "label_space": "mask_gender_age", "backbone": "resnet18", "pretrained": "imagenet",
        "head.kind": "arcface", "head.scale": 30, "head.margin": 0.4,
        "size": (384, 288), "crop_scale": 1.2, "frame": None, "epochs": 40, "batch": 128, "seed": 1997,
        "augmentation": "Augmentation_384", "normalization": "imagenet",
        "optimizer": "SGD", "momentum": 0.9, "lr": 3e-3, "weight_decay": 5e-4,
        "plateau": {"mode": "min", "factor": 0.5, "patience": 10, "threshold": 0.002, "min_lrs": [1e-4]},
    },
    "mask_efficientnet_b3_msd": B3 | {"label_space": "mask_gender_age"},
    "mask_only": B3 | {"label_space": "mask"},
    "gender_age": B3 | {"label_space": "gender_age"},
    "gender_one_sigmoid": B0 | {"label_space": "gender", "head.one_logit": True, "loss.name": "bce"},
    "all_efficientnet_b0": B0 | FOCAL | {"label_space": "all", "head.one_logit": False},
    "diary_resnet18": PLAIN | UNSCALED | {
        "label_space": "mask_gender_age", "backbone": "resnet18", "pretrained": "imagenet",
        "head.initialization": "xavier_constant", "epochs": 20, "seed": 42,
        "augmentation": "CenterCropRotation", "frame": (64 / 384, 128 / 512, 320 / 384, 384 / 512),
    },
}
# fmt: on
SLOW = ("emotion_poster_v2", "mask_only", "gender_age")  # the latter train the network of mask_efficientnet_b3_msd


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny faces, each with an emotion too."""
    folder = tmp_path_factory.mktemp("data")
    write_dataset(folder)
    content, emotions = read_annotations(folder / "annotations.json"), label_space("emotion").heads[0].labels
    images = []
    for image in content.images:
        (face,) = image.faces
        face = replace(face, attributes={**face.attributes, "emotion": emotions[face.id % 7]})
        images.append(replace(image, faces=(face,)))
    write_annotations(replace(content, images=tuple(images)), folder / "annotations.json")
    return folder


def configured(name: str, **changes: Any) -> TrainConfig:
    recipe = resolve(name, ["training.network.pretrained=none"], {})
    return resolve_config({**recipe.training, **{key: getattr(recipe, key) for key in SHARED}}, **changes)


def facts(config: TrainConfig, dataset: Path) -> dict[str, Any]:
    """What a training does, as far as possible from the objects that do it."""
    data = read_data(config, dataset / "annotations.json")
    counts = [target.sum(axis=0) for target in data.train.targets]
    cpu, alone = torch.device("cpu"), Processes()
    learner = new_learner(config, data.heads, IMAGENET, counts, 2, device=cpu, processes=alone, load_pretrained=False)
    optimizer = getattr(learner.optimizer, "base", learner.optimizer)
    loss, spec = config.objective.loss, config.spec
    found: dict[str, Any] = {
        "label_space": config.label_space,
        "size": (config.image_height, config.image_width),
        "epochs": config.epochs,
        "batch": config.batch_size,
        "seed": config.seed,
        "crop_scale": config.crop_scale,
        "frame": config.crop.frame,
        "augmentation": config.augmentation.name,
        "backbone": spec.backbone,
        "keep_classes": spec.keep_classes,
        "freeze": spec.freeze,
        "loss.name": loss.name,
        "loss.label_smoothing": None,
        "optimizer": type(optimizer).__name__,
        "centralized": config.optimizer.name.endswith("_GC"),
        "sam": getattr(learner.optimizer, "rho", None),
        "momentum": optimizer.defaults.get("momentum"),
        "lr": config.learning_rate,
        "normalization": "computed",
    }
    found |= {f"head.{name}": value for name, value in spec.head.model_dump().items()}
    found |= {f"loss.{name}": value for name, value in loss.arguments.items()}
    if config.normalization is not None:
        values = config.normalization
        found["normalization"] = "imagenet" if values == IMAGENET else (list(values.mean), list(values.std))
    decays = {group["weight_decay"] for group in optimizer.param_groups}
    found["weight_decay"] = decays.pop() if len(decays) == 1 else decays
    if config.scheduler.name == "ReduceLROnPlateau":
        state = learner.schedule.state_dict()["scheduler"]
        found["plateau"] = {key: state[key] for key in ("mode", "factor", "patience", "threshold", "min_lrs")}
    else:
        found["rates"] = []
        for _ in range(config.epochs):
            found["rates"].append(optimizer.param_groups[0]["lr"])
            for _ in range(2):
                learner.schedule.after_step()
            learner.schedule.after_epoch({"loss": 1.0})
    return found


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_what_it_was_to_the_parameter(name: str, dataset: Path) -> None:
    expected = dict(RECIPES[name])
    pretrained = resolve(name, (), {}).training.get("network", {}).get("pretrained")
    assert pretrained == expected.pop("pretrained", None)
    config = configured(name)
    found = facts(config, dataset)
    if "rates" in expected:
        assert found["rates"] == pytest.approx(expected.pop("rates"))
    assert {key: found[key] for key in expected} == expected
    assert config.ema_decay == 0 and config.amp == "none" and config.mixing.name == "none"
    assert config.sampling.name == "shuffle" and config.objective.loss.class_weights == "none"
    assert config.clip_norm is None and config.accumulate == 1


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in RECIPES])
def test_a_recipe_trains(name: str, dataset: Path, tmp_path: Path) -> None:
    """One epoch of two steps on tiny pictures, without the weights that would have to be fetched."""
    tiny = {"epochs": 1, "batch_size": 13, "workers": 0}
    if name != "emotion_poster_v2":
        tiny |= {"image_height": 48, "image_width": 36}
    config = configured(name, **tiny)
    train(config, dataset / "images", dataset / "annotations.json", tmp_path / "checkpoints")
    (row,) = json.loads((tmp_path / "checkpoints" / "history.json").read_text())
    assert math.isfinite(row["train_loss"]) and math.isfinite(row["val_loss"])
    saved = load_checkpoint(tmp_path / "checkpoints" / "best.pt")
    assert saved.config == config.model_dump(mode="json") and saved.crop == config.crop
