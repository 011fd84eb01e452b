"""A map of where a model looked, laid over the picture that it saw."""

import numpy as np
from cmap import Colormap
from numpy.typing import NDArray

# Made to look the same with and without red-green color blindness (Nuñez, Anderton and Renslow, 2018).
_COLORS = (Colormap("cividis").lut(256)[:, :3] * 255).astype(np.float32)
_WEIGHT = 0.6
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def overlay(
    crop: NDArray[np.uint8], values: NDArray[np.floating], *, highest: float | None = None
) -> NDArray[np.uint8]:
    """Return a crop in gray under the colors of a map: yellow where the map is highest, blue where it is 0 or less.

    A map without a value above 0 is blue all over.

    Args:
        crop: uint8 RGB (h, w, 3).
        values: the map (h, w).
        highest: the value that is yellow; by default the highest of the map. Give the same for pictures to be compared.

    Returns:
        uint8 RGB (h, w, 3).
    """
    assert values.shape == crop.shape[:2], (values.shape, crop.shape)
    top = float(values.max()) if highest is None else highest
    shares = np.clip(values / top, 0, 1) if top > 0 else np.zeros(values.shape)
    colors = _COLORS[(shares * (len(_COLORS) - 1)).round().astype(np.intp)]
    gray = (crop.astype(np.float32) @ _LUMA)[..., None]
    return ((1 - _WEIGHT) * gray + _WEIGHT * colors).round().astype(np.uint8)
