"""The options of crop_faces."""

from typing import Literal, Self

from pydantic import Field, model_validator

from serving.runtime.card import CropRule, CropShape, InputSize


class CropOptions(CropShape):
    """What is cut around each face, and how it is stored.

    The crop rules of `CropShape`, with `scale` 2 by default: enough of the surroundings for a training's own crop rule.
    `height` and `width` are the size of every crop; without them a crop has the pixels of its photo, unchanged, which
    `fit_inside`, `short_side`, `padding_scale` and `eyes` cannot. A rule without a mode and a size has the box's own
    aspect ratio. `min_decode` is as for training. `format` jpeg is smaller, but changes pixels, and with them the
    scores of models. `max_failed` faces may fail; more fail the step.
    """

    height: int | None = Field(default=None, ge=8, le=4096)
    width: int | None = Field(default=None, ge=8, le=4096)
    scale: float = Field(default=2.0, ge=0.5, le=4.0)
    min_decode: float = Field(default=1.0, ge=1.0, le=8.0)
    format: Literal["png", "jpeg"] = "png"
    quality: int = Field(default=95, ge=1, le=100)
    max_failed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _with_size(self) -> Self:
        if (self.height is None) != (self.width is None):
            raise ValueError("height and width come together, or not at all for crops with the photo's own pixels")
        if self.height is None:
            scaling = {"eyes": self.eyes is not None, f"mode {self.mode}": self.mode in ("fit_inside", "short_side")}
            for rule, scales in (scaling | {"padding_scale": self.padding_scale is not None}).items():
                if scales:
                    raise ValueError(f"{rule} scales faces to a size: give height and width")
        return self

    @property
    def size(self) -> InputSize | None:
        """The size of the crops; None keeps the photo's pixels."""
        return None if self.height is None or self.width is None else InputSize(height=self.height, width=self.width)

    @property
    def rule(self) -> CropRule:
        """What is cut."""
        shape = {name: getattr(self, name) for name in CropShape.model_fields}
        if self.size is None and self.mode is None and self.aspect is None:
            shape["mode"] = "rectangle"
        return CropRule(scale=self.scale, min_decode=self.min_decode, **shape)
