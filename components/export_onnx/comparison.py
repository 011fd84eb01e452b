"""How far an exported graph is from the network that it was made of."""

import numpy as np
import onnxruntime
import torch

from components.shared.models.network import HeadProbabilities
from serving.runtime.card import INPUT_NAME, ClassificationCard

_NOISE_BATCHES = (1, 5)


def max_difference(module: HeadProbabilities, data: bytes, card: ClassificationCard) -> float:
    """Return the largest difference between the probabilities of `module` and those of the graph `data`.

    Both see random pixels in batches of several sizes, always the same ones.
    """
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    differences = []
    for count in _NOISE_BATCHES:
        images = rng.integers(0, 256, (count, card.input.height, card.input.width, 3), dtype=np.uint8)
        with torch.inference_mode():
            expected = [values.numpy() for values in module(torch.from_numpy(images))]
        actual = session.run([head.name for head in card.heads], {INPUT_NAME: images})
        differences += [float(np.abs(one - other).max()) for one, other in zip(expected, actual, strict=True)]
    return float(np.max(differences))
