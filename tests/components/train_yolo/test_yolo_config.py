"""The configuration of a training with ultralytics."""

import contextlib
import math
import subprocess
import sys
from typing import Any

import pytest
import yaml

from components.train_yolo import settings
from components.train_yolo.config import OF_NO_EFFECT, YoloConfig, resolve_config
from components.train_yolo.settings import REFUSED, trainer_keys
from serving.runtime.card import CropRule
from serving.runtime.errors import InputError

CLASSIFY = {"task": "classify", "label_space": "emotion", "model": "yolo11n-cls.yaml"}


def test_the_predecessors_keys_are_taken() -> None:
    """Of the fact sheet, section 4.2: KFP hands every number on as a float."""
    config = resolve_config(
        {"epochs": 20.0, "batch": 16.0, "imgsz": 224.0, "device": 0.0, "optimizer": "adamw", "lr": 0.001, "lrf": 1e-5,
         "cosine": True, "seed": 2024.0, "dropout": 0.3, "patience": 50, "weight_decay": 0.01, "conf": 0.4, **CLASSIFY}
    )  # fmt: skip
    assert (config.device, config.optimizer, config.epochs, config.seed) == ("0", "AdamW", 20, 2024)
    assert config.settings == {"weight_decay": 0.01}
    assert config.labels == ("anger", "anxiety", "embarrass", "happy", "normal", "pain", "sad")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"mosiac": 1.0}, "did you mean 'mosaic'"),
        ({"mosaic": "x"}, "mosaic = 'x': expected float"),
        ({"plots": 1}, "plots = 1: expected bool"),
        ({"close_mosaic": 1.5}, "close_mosaic = 1.5: expected int"),
        ({"data": "coco8.yaml"}, "data = 'coco8.yaml': Facet sets it"),
        ({"pretrained": "x.pt"}, "is called model here"),
        ({"optimizer_params": {"lr0": 1}}, "lr, lrf, momentum, weight_decay"),
        ({"lr_scheduler": "steplr"}, "set cosine"),
        ({"num_workers": 4}, "is called workers here"),
        ({"pose": 12.0}, "unknown key"),
        ({"source": "x.jpg"}, "unknown key"),
        ({"imgsz": 100}, "imgsz = 100: Input should be a multiple of 32"),
        ({"optimizer": "sgdd"}, "did you mean 'SGD'"),
        ({"lr": 0.1}, "lr = 0.1: the optimizer auto chooses its own"),
        ({"momentum": 0.9}, "momentum = 0.9: the optimizer auto chooses its own"),
        ({"device": "gpu"}, "the number of a GPU"),
        ({"model": "yolo11n"}, "expected a .yaml"),
        ({"dropout": 0.3}, "dropout = 0.3: belongs to the task classify"),
        ({"crop_scale": 2.0}, "crop_scale = 2.0: belongs to the task classify"),
        ({"label_space": "all"}, "has several heads"),
        ({"label_space": "emotoin"}, "did you mean 'emotion'"),
        ({"task": "classify"}, "label_space: is missing"),
        ({"task": "segment"}, "known: classify, detect"),
        ({"epochs": 0}, "greater than or equal to 1"),
        ({"seed": 2**40}, "less than or equal to 2147483647"),
        ({"hsv_h": 5}, "hsv_h = 5: expected a number from 0 to 1"),
        ({"mosaic": float("nan")}, "mosaic = nan: expected a number from 0 to 1"),
        ({"degrees": float("inf")}, "degrees = inf: expected a finite number"),
        ({"lrf": float("nan")}, "lrf = nan"),
        ({"momentum": 3, "optimizer": "SGD"}, "momentum = 3: expected a number from 0 to 1"),
        ({"nbs": 0}, "nbs = 0: expected a finite number of 1 or more"),
        ({"workers": -3}, "workers = -3: expected a finite number of 0 or more"),
        ({"amp": "yes"}, "amp = 'yes': unknown name; known: bf16, fp16, fp32"),
        ({"cache": "ramm"}, "cache = 'ramm': unknown name, did you mean 'ram'"),
        ({"auto_augment": "foo"}, "auto_augment = 'foo': unknown name; known: augmix"),
        ({"scale": [2.0, 0.5]}, "the smallest and largest factor"),
        ({"scale": [0.5, 2.0], **CLASSIFY}, "expected a number for the task classify"),
        ({"freeze": [1.5]}, "freeze = [1.5]: expected numbers and names of layers"),
        ({"resume": "s3://bucket/earlier"}, "resume = 's3://bucket/earlier': holds pickles"),
    ],
)
def test_what_is_wrong_is_said(entries: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match="training config") as error:
        resolve_config(entries)
    assert message in str(error.value)


@pytest.mark.parametrize("value", [-1, 0, 1, 2, 1e9, -0.5, 0.5, math.nan, math.inf, "foo", "", True, None, [], [1, 2]])
def test_what_is_taken_is_taken_by_ultralytics(value: Any) -> None:
    from components.train_yolo.library import ultralytics

    for name in trainer_keys().keys() - {*YoloConfig.model_fields, *REFUSED}:
        options = {"optimizer": "SGD", name: value}
        with contextlib.suppress(InputError):
            ultralytics.cfg.check_cfg(dict(resolve_config(options).settings))
            assert value not in (math.inf,) and value == value, name


def test_all_problems_are_said_at_once() -> None:
    with pytest.raises(InputError, match="mosiac.*pretrained.*momentum|momentum.*mosiac.*pretrained"):
        resolve_config({"mosiac": 1, "pretrained": "a.pt", "momentum": 0.9})


@pytest.mark.parametrize(
    ("device", "text"), [(0, "0"), ([0, 1], "0,1"), ("(0, 1)", "0,1"), ("cuda:1", "1"), ("cpu", "cpu")]
)
def test_a_device_is_a_text(device: Any, text: str) -> None:
    assert resolve_config({"device": device}).device == text


def test_every_key_of_ultralytics_training_is_known_refused_or_ours() -> None:
    """Its types are read from the comments of its file: none is missed, and none is of a type that we cannot check."""
    ours = {*YoloConfig.model_fields, *REFUSED}
    assert {"mosaic", "hsv_h", "weight_decay", "close_mosaic", "amp", "freeze"} <= trainer_keys().keys() - ours
    assert not {"source", "show", "format", "opset", "tracker", "dnn"} & trainer_keys().keys()
    kinds = {kind for types in trainer_keys().values() for kind in types}
    assert kinds == {*settings._TYPES, "optional"}
    from components.train_yolo.library import DEFAULT_CFG_DICT

    assert trainer_keys().keys() <= DEFAULT_CFG_DICT.keys()
    values = {key: DEFAULT_CFG_DICT[key] for key in trainer_keys().keys() - ours - {"momentum"}}
    assert resolve_config(values).settings == values


def test_checking_a_configuration_imports_neither_torch_nor_ultralytics() -> None:
    code = (
        "import sys; from components.train_yolo.config import resolve_config; resolve_config({'mosaic': 0.5});"
        "assert not {'torch', 'ultralytics'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_ultralytics_its_keys_are_left_to_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer_keys.cache_clear()
    monkeypatch.setattr(settings.importlib.util, "find_spec", lambda _name: None)
    assert resolve_config({"mosiac": 1}).settings == {"mosiac": 1}
    with pytest.raises(InputError, match="Facet sets it"):
        resolve_config({"save_period": 1})
    trainer_keys.cache_clear()


def test_the_digest_names_what_changes_the_weights() -> None:
    base = resolve_config({})
    assert base.digest("a") != base.digest("b")
    assert all(name in YoloConfig.model_fields or name in trainer_keys() for name in OF_NO_EFFECT)
    assert base.digest("a") == resolve_config({"device": "0", "state": "x", "user": "me", "plots": False}).digest("a")
    for change in ({"mosaic": 0.5}, {"cache": "ram"}, {"epochs": 9}, {"seed": 1}, {"model": "yolo12n.yaml"}):
        assert base.digest("a") != resolve_config(change).digest("a")


@pytest.mark.parametrize(
    ("change", "differing"),
    [({"epochs": 9, "optimizer": "SGD"}, []), ({"mosaic": 0.5, "optimizer": "SGD"}, ["mosaic"])],
)
def test_a_training_may_be_continued_for_longer(change: dict[str, Any], differing: list[str]) -> None:
    earlier = yaml.safe_load(yaml.safe_dump(resolve_config({"optimizer": "SGD"}).model_dump(mode="json")))
    assert resolve_config(change).differences(earlier) == differing


def test_the_optimizer_auto_depends_on_the_length() -> None:
    assert resolve_config({"epochs": 9}).differences(resolve_config({}).model_dump(mode="json")) == ["epochs"]


def test_the_crop_rule_is_that_of_the_card() -> None:
    config = resolve_config({**CLASSIFY, "crop_scale": 1.5, "crop_rule": "fit_inside"})
    assert config.crop == CropRule(scale=1.5, mode="fit_inside")
