"""Where a network responded: its last feature map, of a graph that was exported with it."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from serving.runtime.predictor import Classifier


def activation(model: Classifier, crop: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the strength of a network's last feature map over a crop, float32 (h, w), at least 0.

    It is the root of the mean over the channels of the squared features (the attention map of Zagoruyko and Komodakis,
    "Paying More Attention to Attention", 2017), resized bilinearly to the crop. It runs the graph once and belongs to
    no label; `occlusion` tells for one label.

    Args:
        model: a classifier whose graph has the output `features`, see `export_onnx`.
        crop: what the model sees of a face, uint8 RGB of the height and width of its card's input.

    Raises:
        InputError: the graph has no such output, or the crop is not of the model's input.
    """
    (features,) = model.features(crop[None]).astype(np.float64)
    strength = np.sqrt(np.square(features).mean(axis=0)).astype(np.float32)
    height, width = crop.shape[:2]
    resized = Image.fromarray(strength).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized, np.float32)
