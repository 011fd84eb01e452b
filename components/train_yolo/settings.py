"""The keys of ultralytics' own configuration, by name and type, read from its default.yaml without importing it."""

import importlib.util
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
_SECTION = re.compile(r"^# (\w[^-]*?) -+\s*$")
_KEY = re.compile(r"^(\w+):[^#]*# \((.*?)\)")


@cache
def trainer_keys() -> Mapping[str, tuple[str, ...]]:
    """Return the names of the types that each key of a training takes; `optional` means that null is one of them.

    Empty where ultralytics is not installed: the step checks them then.
    """
    spec = importlib.util.find_spec("ultralytics")
    if spec is None or not spec.submodule_search_locations:
        return {}
    text = (Path(spec.submodule_search_locations[0]) / "cfg/default.yaml").read_text(encoding="utf-8")
    keys, section = {}, ""
    for line in text.splitlines():
        if heading := _SECTION.match(line):
            section = heading[1]
        elif (entry := _KEY.match(line)) and (section in _SECTIONS or entry[1] in _OTHERS):
            keys[entry[1]] = tuple(re.findall(r"[a-z]+", re.sub(r"\[.*?\]", "", entry[2])))
    return {name: types for name, types in keys.items() if name not in _OF_OTHER_TASKS}


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
    if value is None and "optional" in types:
        return ""
    for kind in types:
        if isinstance(value, _TYPES.get(kind, ())) and (kind == "bool" or not isinstance(value, bool)):
            return ""
    return f"expected {' or '.join('null' if kind == 'optional' else kind for kind in types)}"
