"""Options of the split modes."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from serving.runtime.storage import is_s3
from serving.runtime.validation import Frozen

_LISTS = ("train_list", "val_list", "test_list")
_FOLDS = ("folds", "k_index")
_OF_MODES = {"lists": _LISTS, "kfold": _FOLDS, "image_kfold": _FOLDS, "fold": ("k_index", "val")}


class SplitOptions(Frozen):
    """How the images are divided.

    Attributes:
        mode: `person`, by ratios, stratified, each person on one side; `lists`, by lists of names; `kfold`, folds of
            persons; `all`, everything for training; `fold`, evaluates one of the existing folds; `image` and
            `image_kfold` split by image, ignoring identity, and leak.
        train_list: for `lists`: a path or `s3://` address of a text file with one person id or profile folder name
            per line; likewise `val_list` and `test_list`.
        folds: for `kfold` and `image_kfold`: the number of folds.
        k_index: for `kfold` and `image_kfold`: the fold that becomes the val split, from 0 on; for `fold`: the one
            that becomes the test split.
        val: for `fold`: whether the next fold becomes the val split.
    """

    mode: Literal["person", "lists", "kfold", "all", "fold", "image", "image_kfold"] = "person"
    train_list: str | None = None
    val_list: str | None = None
    test_list: str | None = None
    folds: int = Field(default=5, ge=2)
    k_index: int = Field(default=0, ge=0)
    val: bool = True

    @model_validator(mode="after")
    def _of_the_mode(self) -> Self:
        foreign = sorted(self.model_fields_set - {"mode"} - set(_OF_MODES.get(self.mode, ())))
        if foreign:
            raise ValueError(f"mode '{self.mode}' does not use {', '.join(foreign)}")
        if self.mode == "lists" and not self.train_list:
            raise ValueError("mode 'lists' needs 'train_list'")
        if self.mode != "fold" and self.k_index >= self.folds:
            raise ValueError(f"'k_index' must be below 'folds': 0 to {self.folds - 1}, got {self.k_index}")
        return self

    def recorded(self) -> dict[str, Any]:
        """Return what the mode uses, for the annotations: of a local list only its name."""
        values = self.model_dump(include={"mode", *_OF_MODES.get(self.mode, ())}, exclude_none=True)
        for name in _LISTS:
            if name in values and not is_s3(values[name]):
                values[name] = Path(values[name]).name
        return values
