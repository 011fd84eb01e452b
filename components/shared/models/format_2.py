"""Checkpoints of format 2, written by version 0.1.0, under the names of format 3."""

from collections.abc import Mapping
from typing import Any

from components.shared.models.poster_v2_weights import NOT_READ

_RENAMED = {
    "gradient_centralisation": "gradient_centralization",
    "initialisation": "initialization",
    "optimiser": "optimizer",
    "standardise": "standardize",
}
_TORCH_OPTIMIZERS = ("ASGD", "Adadelta", "Adafactor", "Adagrad", "Adamax", "Muon", "Rprop")
_TORCH_SCHEDULERS = (
    *("ChainedScheduler", "ConstantLR", "CyclicLR", "LambdaLR", "LinearLR", "MultiplicativeLR", "PolynomialLR"),
    "SequentialLR",
)
_RENAMED_ENTRIES = {
    "optimizer": {name: f"torch.optim:{name}" for name in _TORCH_OPTIMIZERS},
    "scheduler": {
        "cosine": "cosine_with_warmup",
        "one_cycle": "cosine_cycle",
        **{name: f"torch.optim.lr_scheduler:{name}" for name in _TORCH_SCHEDULERS},
    },
}
_ENSEMBLE_DEFAULTS: Mapping[str, Any] = {
    "stem": "convolution",
    "standardize": False,
    "members": 1,
    "linear_member": False,
}


def upgraded(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a checkpoint of format 2 as one of format 3 has it.

    Options have the American spelling, optimizers and schedules their present names; a `small_resnet` with Gabor stem,
    members or standardized images is a `gabor_ensemble`; the entry `augment` is in `augmentation.arguments`; the
    tensors of POSTER V2 that nothing reads are dropped.
    """
    values = dict(content)
    model, config = _respelled(values.get("model")), _respelled(values.get("config"))
    if isinstance(model, dict):
        _rename_backbone(model, "backbone", model.get("arguments"))
    if isinstance(config, dict):
        for part, names in _RENAMED_ENTRIES.items():
            if isinstance(entry := config.get(part), dict) and entry.get("name") in names:
                entry["name"] = names[entry["name"]]
        network = config.get("network")
        _rename_backbone(config, "model", network.get("arguments") if isinstance(network, dict) else None)
        _merge_augment(config)
    for name in ("model_state", "ema_state"):
        if isinstance(state := values.get(name), dict):
            values[name] = {key: value for key, value in state.items() if key.removeprefix("backbone.") not in NOT_READ}
    return values | {"model": model, "config": config}


def _respelled(value: Any) -> Any:
    if isinstance(value, dict):
        return {_RENAMED.get(name, name): _respelled(entry) for name, entry in value.items()}
    return [_respelled(entry) for entry in value] if isinstance(value, list) else value


def _merge_augment(config: dict[str, Any]) -> None:
    """Move `augment`, the options of the augmentation `face`, to the arguments of `augmentation`, in place."""
    options, augmentation = config.pop("augment", None), config.get("augmentation")
    if isinstance(options, dict) and isinstance(augmentation, dict) and augmentation.get("name") == "face":
        augmentation["arguments"] = options | augmentation.get("arguments", {})


def _rename_backbone(entries: dict[str, Any], key: str, arguments: Any) -> None:
    """Change the backbone under `key` of `entries`, and its `arguments`, in place."""
    if not isinstance(arguments, dict):
        return
    if entries.get(key) == "poster_v2":
        arguments.pop("keep_unused", None)
    if entries.get(key) == "small_resnet":
        ensemble = {name: arguments.pop(name, default) for name, default in _ENSEMBLE_DEFAULTS.items()}
        if ensemble != _ENSEMBLE_DEFAULTS:
            entries[key] = "gabor_ensemble"
            arguments |= ensemble
