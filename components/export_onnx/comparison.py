"""How far an exported graph is from the network that it was made of."""

import time
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from components.shared.models.network import HeadProbabilities
from serving.runtime.card import INPUT_NAME, ClassificationCard

_NOISE_BATCHES = (1, 5)
_BATCH = 8
_RUNS = 15


@dataclass(frozen=True, slots=True)
class Comparison:
    """What differs between a graph in ONNX Runtime and its network in torch.

    Attributes:
        max_difference: the largest difference of a probability.
        agreement: share of faces for which a head's most probable label is the same, the lowest over the heads.
    """

    max_difference: float
    agreement: float


def noise(card: ClassificationCard) -> list[NDArray[np.uint8]]:
    """Return batches of several sizes of random pixels, always the same ones."""
    rng = np.random.default_rng(0)
    size = (card.input.height, card.input.width, 3)
    return [rng.integers(0, 256, (count, *size), dtype=np.uint8) for count in _NOISE_BATCHES]


def batches(faces: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Return faces in batches that bound the memory."""
    return [faces[start : start + _BATCH] for start in range(0, len(faces), _BATCH)]


def compare(
    module: HeadProbabilities, data: bytes, card: ClassificationCard, images: Iterable[NDArray[np.uint8]]
) -> Comparison:
    """Compare the probabilities of `module` with those of the graph `data` on batches of images."""
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    names = [head.name for head in card.heads]
    differences: list[np.float32] = []
    same: list[list[NDArray[np.bool_]]] = []
    for batch in images:
        with torch.inference_mode():
            expected = [values.numpy() for values in module(torch.from_numpy(batch))]
        actual = session.run(names, {INPUT_NAME: batch})
        pairs = list(zip(expected, actual, strict=True))
        differences += [np.abs(one - other).max() for one, other in pairs]
        same.append([one.argmax(axis=1) == other.argmax(axis=1) for one, other in pairs])
    agreements = [float(np.concatenate(of_head).mean()) for of_head in zip(*same, strict=True)]
    return Comparison(float(np.max(differences)), min(agreements))


def cpu_time_ratio(slow: bytes, fast: bytes, image: NDArray[np.uint8]) -> float:
    """Return how many times as much CPU time one graph takes as another, for one image (1, h, w, 3) in one thread."""
    times: tuple[list[float], list[float]] = ([], [])
    sessions = [_single(slow), _single(fast)]
    for _ in range(_RUNS):  # in turn, so that both see the same load of the machine
        for session, taken in zip(sessions, times, strict=True):
            start = time.thread_time()
            session.run(None, {INPUT_NAME: image})
            taken.append(time.thread_time() - start)
    slow_time, fast_time = (float(np.median(taken)) for taken in times)
    return slow_time / fast_time


def _single(data: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
