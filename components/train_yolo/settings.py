"""The keys of ultralytics' own configuration: names, types and ranges, read from its files without importing it."""

import ast
import importlib.util
import math
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from serving.runtime.validation import known

_SET_HERE = "Facet sets it"
_CALLED = "is called {} here"

REFUSED: Mapping[str, str] = {
    **dict.fromkeys(("mode", "data", "save", "save_period", "save_dir", "project", "name", "exist_ok"), _SET_HERE),
    **dict.fromkeys(("verbose", "split", "val", "cfg", "profile"), _SET_HERE),
    "lr0": _CALLED.format("lr"),
    "cos_lr": _CALLED.format("cosine"),
    "pretrained": f"{_CALLED.format('model')}: a .pt there is where the training starts",
    "optimizer_params": "name them at the top: lr, lrf, momentum, weight_decay",
    "lr_scheduler": "set cosine to true or false, and lrf",
    "lr_scheduler_params": "the only parameter of the schedule is lrf",
    "num_workers": _CALLED.format("workers"),
    "loss_fn": "ultralytics has one loss for each task",
    "single_cls": "leave label_space out for one class",
    "classes": "take faces out with curate, or name another label_space",
    "fraction": "take a part of the data with curate sample",
    "time": "the length of a training is epochs, so that it can be repeated",
    "distill_model": "training with a teacher is not supported",
    "quantize": "only float32 is trained and exported",
}
"""Keys of ultralytics, and of configurations written for it, that are not taken, and why."""

_SECTIONS = ("Train settings", "Hyperparameters")
_OTHERS = frozenset({"max_det", "plots"})
_OF_OTHER_TASKS = frozenset(
    [
        "overlap_mask",
        "mask_ratio",
        "pose",
        "kobj",
        "rle",
        "angle",
        "dlog",
        "dgrad",
        "dlam",
        "dis",
        "copy_paste",
        "copy_paste_mode",
    ]
)

_TYPES: Mapping[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "str": (str,),
    "list": (list, tuple),
    "tuple": (list, tuple),
}
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "cache": ("ram", "disk"),
    "amp": ("fp16", "bf16", "fp32"),
    "compile": ("default", "reduce-overhead", "max-autotune-no-cudagraphs"),
    "auto_augment": ("randaugment", "autoaugment", "augmix"),
}
"""What a key that is a text may be."""
_LEAST = {"workers": 0, "close_mosaic": 0, "freeze": 0}
"""Smallest values that ultralytics does not check."""
_MAY_BE_NULL = ("auto_augment",)
_FRACTIONS, _SMALLEST = "CFG_FRACTION_KEYS", "CFG_INT_MIN"
_SECTION = re.compile(r"^# (\w[^-]*?) -+\s*$")
_KEY = re.compile(r"^(\w+):[^#]*# \((.*?)\)")


def _source(name: str) -> str:
    """Return the text of a file of ultralytics' package; "" where it is not installed."""
    spec = importlib.util.find_spec("ultralytics")
    if spec is None or not spec.submodule_search_locations:
        return ""
    return (Path(spec.submodule_search_locations[0]) / name).read_text(encoding="utf-8")


@cache
def trainer_keys() -> Mapping[str, tuple[str, ...]]:
    """Return the names of the types that each key of a training takes; `optional` means that null is one of them.

    Empty where ultralytics is not installed: the step checks them then.
    """
    keys, section = {}, ""
    for line in _source("cfg/default.yaml").splitlines():
        if heading := _SECTION.match(line):
            section = heading[1]
        elif (entry := _KEY.match(line)) and (section in _SECTIONS or entry[1] in _OTHERS):
            keys[entry[1]] = tuple(re.findall(r"[a-z]+", re.sub(r"\[.*?\]", "", entry[2])))
    return {name: types for name, types in keys.items() if name not in _OF_OTHER_TASKS}


@cache
def _ranges() -> Mapping[str, tuple[float, float]]:
    """Return the smallest and largest value of the keys that have some."""
    found: dict[str, Any] = {}
    for statement in ast.parse(_source("cfg/__init__.py")).body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            value = statement.value.args[0] if isinstance(statement.value, ast.Call) else statement.value
            if statement.targets[0].id in (_FRACTIONS, _SMALLEST):
                found[statement.targets[0].id] = ast.literal_eval(value)
    return {
        **dict.fromkeys(("scale", *found[_FRACTIONS]), (0, 1)),
        **{name: (least, math.inf) for name, least in (found[_SMALLEST] | _LEAST).items()},
    }


def problem_with(name: str, value: Any, own: Mapping[str, Any]) -> str:
    """Return what is wrong with a key of ultralytics; "" for nothing. `own` are the names that are no such keys."""
    if name in REFUSED:
        return REFUSED[name]
    keys = trainer_keys()
    if not keys:
        return ""
    if name not in keys:
        return f"unknown key{known(name, {*own, *keys} - REFUSED.keys())}"
    types = keys[name]
    if value is None and ("optional" in types or name in _MAY_BE_NULL):
        return ""
    fitting = [kind for kind in types if isinstance(value, _TYPES.get(kind, ()))]
    if not fitting or (isinstance(value, bool) and "bool" not in fitting):
        return f"expected {' or '.join('null' if kind == 'optional' else kind for kind in types)}"
    return _problem_with_value(name, value)


def _problem_with_value(name: str, value: Any) -> str:
    """Return what is wrong with a value of the right type; "" for nothing."""
    if isinstance(value, str):
        known_ones = _CHOICES.get(name)
        return "" if known_ones is None or value in known_ones else f"unknown name{known(value, known_ones)}"
    if isinstance(value, list | tuple):
        if name == "scale":
            pair = len(value) == 2 and all(isinstance(one, int | float) and math.isfinite(one) for one in value)
            return "" if pair and 0 < value[0] <= value[1] else "expected a number, or the smallest and largest factor"
        right = all(isinstance(one, int | str) and not isinstance(one, bool) for one in value)
        return "" if right else "expected numbers and names of layers"
    least, most = (-math.inf, math.inf) if isinstance(value, bool) else _ranges().get(name, (-math.inf, math.inf))
    if math.isfinite(value) and least <= value <= most:
        return ""
    if math.isfinite(most):
        return f"expected a number from {least:g} to {most:g}"
    return "expected a finite number" + (f" of {least:g} or more" if math.isfinite(least) else "")
