"""What is predicted: the images of a split; and what could not be."""

import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from components.shared.dataset.annotations import Annotations, Image
from serving.runtime.errors import ImageError, InputError

SPLITS = ("test", "val", "train", "all")
_EXAMPLES = 5
_log = logging.getLogger(__name__)


def images_of_split(annotations: Annotations, split: str, *, may_be_empty: bool = False) -> list[Image]:
    """Return the images of a split by their ids; of `all` those without a split too.

    Raises InputError for an unknown split and, unless it `may_be_empty`, for one without an image.
    """
    if split not in SPLITS:
        raise InputError(f"unknown split '{split}'; known: {', '.join(SPLITS)}; present: {present(annotations)}")
    images = [image for image in annotations.images if split in ("all", image.split)]
    if not images and not may_be_empty:
        raise InputError(f"no image is in split '{split}'; present: {present(annotations)}")
    return sorted(images, key=lambda image: image.id)


def present(annotations: Annotations) -> str:
    """Return the splits and how many faces each has, for an error."""
    counts: Counter[str] = Counter()
    for image in annotations.images:
        counts[image.split or "no split"] += len(image.faces)
    return ", ".join(f"{name} {count} faces" for name, count in sorted(counts.items())) or "no images"


class NotFiniteError(InputError):
    """What a model says of a face is not a number."""


def check_finite(heads: Mapping[str, Mapping[str, float]], model: str) -> None:
    """Raise NotFiniteError when a probability of a head's label is not a number."""
    for head, labels in heads.items():
        if not all(map(math.isfinite, labels.values())):
            raise NotFiniteError(f"model '{model}' gives probabilities for head '{head}' that are not numbers")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a photo or a face could not be predicted; `reason` is that of `ImageError`, `not_finite` or `box`."""

    reason: str
    message: str

    @classmethod
    def of(cls, error: InputError) -> Self:
        """Return what an error about an image, a box or the numbers of a face says."""
        if isinstance(error, ImageError):
            return cls(error.reason, str(error))
        return cls("not_finite" if isinstance(error, NotFiniteError) else "box", str(error))


def check_failures(
    failed: Sequence[tuple[str, Failure]],
    max_failed: int,
    total: int,
    noun: str = "faces",
    *,
    lost: int = 0,
    may_be_all: bool = False,
) -> dict[str, int]:
    """Raise InputError above the threshold, otherwise log what is left out and count it by reason.

    Args:
        failed: the paths of the images with what went wrong.
        max_failed: how many may fail.
        total: how many there are.
        noun: what they are.
        lost: how many of those that may fail were lost before, and are not among these.
        may_be_all: accept that nothing is left, as of one shard of many.
    """
    if not failed:
        return {}
    reasons = dict(sorted(Counter(failure.reason for _, failure in failed).items()))
    counts = ", ".join(f"{reason} {count}" for reason, count in reasons.items())
    examples = "; ".join(f"{path}: {failure.message}" for path, failure in failed[:_EXAMPLES])
    message = f"{len(failed)} of {total} {noun} could not be predicted ({counts}), such as {examples}"
    if len(failed) == total and not may_be_all:
        raise InputError(f"{message}; nothing is left: check what these files are")
    count = len(failed) + lost
    if count > max_failed:
        raise InputError(
            f"{message}; repair or remove these images, or allow so many with max_failed={count} (--max-failed {count})"
        )
    _log.warning("%s", message)
    return reasons
