"""Models under the names of earlier projects: `recipes.yaml`. Usable like any model, but not listed or suggested."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from components.shared.models.spec.backbone_names import check_backbone

RECIPES: Mapping[str, Mapping[str, Any]] = yaml.safe_load(Path(__file__).with_name("recipes.yaml").read_text("utf-8"))
"""Name -> entries of a ModelSpec."""


def check_model(name: str) -> str:
    """Return `name` if it is a recipe, a backbone or an import path; InputError lists the backbones otherwise."""
    return name if name in RECIPES else check_backbone(name, kind="model")
