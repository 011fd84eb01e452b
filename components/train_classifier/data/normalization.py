"""Mean and standard deviation of the training faces, for normalization."""

import logging
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from components.shared.dataset.annotations import Annotations
from components.train_classifier.data.faces import Sample
from serving.runtime.card import Normalization
from serving.runtime.errors import ImageError, InputError
from serving.runtime.ordered_map import ordered_map

log = logging.getLogger(__name__)

Counts = NDArray[np.int64]

_DECIMALS = 4
_AHEAD = 64  # faces in work
_LEVELS = np.arange(256) / 255
_LEAST_STD = 0.004  # one level: noise of a constant channel is not amplified


def compute_normalization(
    samples: Sequence[Sample],
    annotations: Annotations,
    pixels_of: Callable[[Sample], NDArray[np.uint8]],
    *,
    workers: int = 1,
) -> Normalization:
    """Return the mean and the population standard deviation of every channel over all pixels of the training faces.

    Histograms are accumulated picture by picture, so memory does not grow with their number, and the result does not
    depend on the order or the number of workers. The result is rounded to 4 decimals.

    Args:
        samples: the faces of the train split.
        annotations: the annotations that contain them.
        pixels_of: returns the pixels of a face as validation cuts them, uint8 (h,w,3) RGB; called by several threads.
        workers: how many threads read pictures.

    Raises:
        InputError: there are no samples, one is not of the train split, one of their persons is in val or test too
            while the annotations do not declare a leak, or a picture cannot be used.
    """
    _check_train_only(samples, annotations)

    def count(sample: Sample) -> Counts:
        try:
            pixels = pixels_of(sample)
        except ImageError as error:
            raise InputError(f"{sample.file_name} cannot be used for training: {error}") from error
        return np.array(Image.fromarray(pixels).histogram()).reshape(3, 256)

    counts = np.zeros((3, 256), np.int64)
    for _, part in ordered_map(count, samples, workers=max(1, workers), ahead=_AHEAD):
        counts += part
    mean, std = statistics(counts)
    log.info("mean %s, standard deviation %s of %d training faces", mean, std, len(samples))
    return Normalization(mean=mean, std=std)


def statistics(counts: Counts) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Return mean and population standard deviation per channel, in 0..1, of values 0..255 that occur `counts` times.

    The deviation is at least one level.

    Args:
        counts: (3,256), how often each channel has each value.
    """
    mean, std = zip(*map(_mean_and_std, counts), strict=True)
    return mean, std


def _mean_and_std(counts: Counts) -> tuple[float, float]:
    mean = np.average(_LEVELS, weights=counts)
    deviation = np.average((_LEVELS - mean) ** 2, weights=counts) ** 0.5
    return round(float(mean), _DECIMALS), max(round(float(deviation), _DECIMALS), _LEAST_STD)


def _check_train_only(samples: Sequence[Sample], annotations: Annotations) -> None:
    if not samples:
        raise InputError("there are no training faces to compute the normalization from; check label_space and split")
    used = {sample.file_name for sample in samples}
    persons: set[str | None] = set()
    for image in annotations.images:
        if image.file_name not in used:
            continue
        if image.split != "train":
            raise InputError(
                f"{image.file_name} is on the split {image.split}: the normalization may only see the train split"
            )
        persons.add(image.person)
    if annotations.info.leaks:
        log.warning("the annotations leak: people of val or test are also among the faces the normalization is from")
        return
    for image in annotations.images:
        if image.split in ("val", "test") and image.person is not None and image.person in persons:
            raise InputError(
                f"person {image.person} is on train and on {image.split}: the normalization would see "
                f"{image.split}; split by person"
            )
