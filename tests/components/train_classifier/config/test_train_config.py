import subprocess
import sys

import pytest

from components.shared.options import by_name
from components.train_classifier.config.augmentation import TRANSFORMS
from components.train_classifier.config.objective import LOSSES, OPTIMIZERS, SCHEDULERS
from components.train_classifier.config.training import TrainConfig, resolve_config
from pipelines.command.config import resolve
from serving.runtime.card import CropRule
from serving.runtime.errors import InputError


def test_parameters_win_over_the_dict_and_floats_become_ints() -> None:
    # KFP hands every int inside a dict over as a float.
    config = resolve_config(
        {"epochs": 3.0, "batch_size": 8.0, "augmentation": {"arguments": {"rotation": 5.0}}},
        label_space="mask",
        epochs=7,
    )
    assert (config.epochs, config.batch_size, config.augmentation.arguments.rotation) == (7, 8, 5.0)
    assert isinstance(config.batch_size, int)


@pytest.mark.parametrize(("text", "meant"), [("False", False), ("True", True), ("no", False), ("on", True)])
def test_a_truth_value_may_be_text(text: str, meant: bool) -> None:
    config = resolve_config({"label_space": "mask", "compile": text, "network": {"keep_classes": text}})
    assert (config.compile, config.spec.keep_classes) == (meant, meant)
    training = resolve("", [f"training.compile={text}", f"training.network.keep_classes='{text}'"], {}).training
    config = resolve_config({"label_space": "mask", **training})
    assert (config.compile, config.spec.keep_classes) == (meant, meant)


@pytest.mark.parametrize(
    ("entries", "parts"),
    [
        ({"lerning_rate": 1}, ["lerning_rate = 1: unknown key, did you mean 'learning_rate'", "weight_decay"]),
        (
            {"augmentation": {"arguments": {"flop": 0.5}}},
            ["augmentation.arguments.flop = 0.5: unknown key, did you mean 'flip'?", "erasing"],
        ),
        ({"normalization": {"mean": [0, 0, 0], "std": [1, 1, 1], "var": 1}}, ["normalization.var", "mean, std"]),
        ({"model": "resnet19"}, ["model = 'resnet19': ", "did you mean 'resnet18'", "base"]),
        ({"label_space": "maks"}, ["label_space = 'maks': ", "did you mean 'mask'", "mask_gender_age", "emotion"]),
        (
            {"objective": {"loss": "focl"}},
            ["loss.name = 'focl': ", "did you mean 'focal'", "label_smoothing"],
        ),
        ({"network": {"head": {"kind": "arcfaec"}}}, ["network = {'head': {'kind': 'arcfaec'}}: ", "arcface"]),
        ({"scheduler": "step"}, ["scheduler.name = 'step': ", "did you mean 'StepLR'", "cosine_cycle"]),
        ({"optimizer": {"name": "AdamX"}}, ["optimizer.name = 'AdamX': ", "did you mean 'Adam", "SGDW"]),
        ({"normalization": "imagnet"}, ["normalization = 'imagnet': ", "imagenet, computed, or values"]),
        ({"augmentation": "fase"}, ["augmentation.name = 'fase': unknown augmentation", "did you mean 'face'"]),
        ({"augmentation": "Aug1"}, ["= 'Aug1': unknown augmentation 'Aug1'; known: face, none, or your own"]),
        ({"augmentation": {"name": "Aug0", "arguments": 3}}, ["augmentation.arguments = 3: must be a mapping"]),
        ({"augmentation": {"frame": [0.5, 0, 0.5, 1]}}, ["augmentation", "left < right"]),
        ({"amp": "fp8"}, ["amp = 'fp8': ", "bf16"]),
        ({"device": "gpu"}, ["device = 'gpu': ", "cuda"]),
        ({"criterion": "auc"}, ["criterion = 'auc': ", "f1", "acc", "loss"]),
        ({"age_thresholds": [60, 30]}, ["age_thresholds = [60, 30]: ", "positive and ascending"]),
        ({"epochs": 3.5}, ["epochs = 3.5: "]),
        ({"learning_rate": 0}, ["learning_rate = 0: "]),
        ({"ema_decay": 1.0}, ["ema_decay = 1.0: "]),
        (
            {"augmentation": {"arguments": {"scale": [1.0, 0.5]}}},
            ["augmentation.arguments = ", "scale must be a range (low, high)"],
        ),
        ({"epochs": 0, "batch_size": 1}, ["epochs = 0: ", "batch_size = 1: "]),
    ],
)
def test_wrong_entries_are_named_with_value_and_known_names(entries: dict[str, object], parts: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        resolve_config({"label_space": "mask"} | entries)
    assert all(part in str(caught.value) for part in parts), str(caught.value)


def test_the_crop_rule_has_the_frame_of_the_augmentation() -> None:
    middle = (12 / 384, 76 / 512, 372 / 384, 436 / 512)
    for augmentation, frame in [
        ("face", None),
        ("Augmentation_384", None),
        ("Aug0", (0, 0, 1, 1)),
        ("BestAugForAlbum", middle),
        ({"name": "BestAugForAlbum", "frame": "face"}, None),
        ({"name": "face", "frame": "image"}, (0, 0, 1, 1)),
        ({"name": "none", "frame": [0.25, 0, 0.75, 0.5]}, (0.25, 0, 0.75, 0.5)),
    ]:
        config = resolve_config({"augmentation": augmentation, "crop_scale": 1.5}, label_space="mask")
        assert config.crop == CropRule(scale=1.5, frame=frame)


def test_survives_its_own_dump() -> None:
    config = resolve_config(
        {"label_space": "all", "augmentation": {"arguments": {"hue": 0.1}}, "normalization": "computed"}, seed=4
    )
    assert TrainConfig.model_validate(config.model_dump(mode="json")) == config


def test_digest_follows_what_changes_weights() -> None:
    config = resolve_config({}, label_space="mask")
    assert config.digest("a") == resolve_config({"workers": 3, "log_interval": 1}, label_space="mask").digest("a")
    changed = [
        resolve_config({}, label_space="mask", seed=1),
        resolve_config({"augmentation": {"arguments": {"flip": 0}}}, label_space="mask"),
        resolve_config({"normalization": "computed"}, label_space="mask"),
    ]
    assert len({config.digest("a"), config.digest("b"), *(other.digest("a") for other in changed)}) == 5


def test_importing_the_config_loads_no_torch() -> None:
    code = "import sys, components.train_classifier.config.training; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    "table",
    [LOSSES, OPTIMIZERS, SCHEDULERS, TRANSFORMS],
    ids=["losses", "optimizers", "schedulers", "transforms"],
)
def test_every_name_of_the_configuration_can_be_imported(table: dict[str, str]) -> None:
    assert all(callable(by_name("entry", name, table)) for name in table)
