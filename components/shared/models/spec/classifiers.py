"""The names of all models, checked without torch."""

from components.shared.by_name import unknown_name
from components.shared.models.spec.backbone_names import OWN_BACKBONES, TORCHVISION, is_import_path
from components.shared.models.spec.presets import PRESETS
from serving.runtime.errors import InputError

CLASSIFIERS: tuple[str, ...] = tuple(sorted({*PRESETS, *OWN_BACKBONES, *TORCHVISION}))
"""Presets, our own backbones and torchvision's; an own model is named `package.module:name`."""


def check_classifier(name: str) -> str:
    """Return `name` if it is a known model or has the form of an import path; InputError lists the known ones."""
    if name not in CLASSIFIERS and not is_import_path(name):
        raise InputError(unknown_name("model", name, CLASSIFIERS))
    return name
