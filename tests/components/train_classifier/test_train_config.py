import subprocess
import sys

import pytest

from components.train_classifier.config import TrainConfig, resolve_config
from serving.runtime.errors import InputError


def test_parameters_win_over_the_dict_and_floats_become_ints() -> None:
    # KFP hands every int inside a dict over as a float.
    config = resolve_config(
        {"epochs": 3.0, "batch_size": 8.0, "augment": {"rotation": 5.0}}, label_space="mask", epochs=7
    )
    assert (config.epochs, config.batch_size, config.augment.rotation) == (7, 8, 5.0)
    assert isinstance(config.batch_size, int)


@pytest.mark.parametrize(
    ("entries", "parts"),
    [
        ({"lerning_rate": 1}, ["lerning_rate = 1", "unknown option", "learning_rate", "weight_decay"]),
        ({"augment": {"flop": 0.5}}, ["augment.flop = 0.5", "unknown option", "flip", "erasing"]),
        ({"normalization": {"mean": [0, 0, 0], "std": [1, 1, 1], "var": 1}}, ["normalization.var", "mean, std"]),
        ({"model": "resnet19"}, ["model = 'resnet19'", "base, resnet18"]),
        ({"label_space": "maks"}, ["label_space = 'maks'", "mask_gender_age", "emotion"]),
        ({"scheduler": "step"}, ["scheduler = 'step'", "cosine", "one_cycle"]),
        ({"criterion": "auc"}, ["criterion = 'auc'", "f1", "acc", "loss"]),
        ({"age_thresholds": [60, 30]}, ["age_thresholds = [60, 30]", "positive and ascending"]),
        ({"epochs": 3.5}, ["epochs = 3.5"]),
        ({"learning_rate": 0}, ["learning_rate = 0"]),
        ({"ema_decay": 1.0}, ["ema_decay = 1.0"]),
        ({"augment": {"scale": [1.0, 0.5]}}, ["augment", "scale must be a range (low, high)"]),
        ({"epochs": 0, "batch_size": 1}, ["epochs = 0", "batch_size = 1"]),
    ],
)
def test_wrong_entries_are_named_with_value_and_known_names(entries: dict[str, object], parts: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        resolve_config({"label_space": "mask"} | entries)
    assert all(part in str(caught.value) for part in parts), str(caught.value)


def test_survives_its_own_dump() -> None:
    config = resolve_config({"label_space": "all", "augment": {"hue": 0.1}}, seed=4)
    assert TrainConfig.model_validate(config.model_dump(mode="json")) == config


def test_digest_follows_what_changes_weights() -> None:
    config = resolve_config({}, label_space="mask")
    assert config.digest("a") == resolve_config({"workers": 3, "log_interval": 1}, label_space="mask").digest("a")
    changed = [
        resolve_config({}, label_space="mask", seed=1),
        resolve_config({"augment": {"flip": 0}}, label_space="mask"),
    ]
    assert len({config.digest("a"), config.digest("b"), *(other.digest("a") for other in changed)}) == 4


def test_importing_the_config_loads_no_torch() -> None:
    code = "import sys, components.train_classifier.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
