"""Sizes of images and boxes, and the positions of the boxes."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from components.shared.dataset.annotations import Image

_EXAMPLES = 3

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Sizes:
    """Sizes in upright pixels.

    Attributes:
        images: (images, 2), width and height.
        common: the most frequent (width, height) and how many images have it.
        boxes: (boxes, 2), width and height.
        areas: (boxes,), area of the box as a share of its image.
        centers: (boxes, 2), x and y of the center as shares of the image's width and height.
        smallest: the boxes with the shortest sides: name of the image, width, height.
        faces_without: faces without a box.
        images_without: images without any box; `examples` names some.
    """

    images: Numbers
    common: tuple[tuple[tuple[int, int], int], ...]
    boxes: Numbers
    areas: Numbers
    centers: Numbers
    smallest: tuple[tuple[str, float, float], ...]
    faces_without: int
    images_without: int
    examples: tuple[str, ...]


def measure_sizes(images: Sequence[Image]) -> Sizes:
    """Collect the sizes of all images and boxes."""
    sizes = np.array([(image.width, image.height) for image in images], dtype=np.float64).reshape(-1, 2)
    rows = [(index, *face.box) for index, image in enumerate(images) for face in image.faces if face.box is not None]
    table = np.array(rows, dtype=np.float64).reshape(-1, 5)
    owner, corners, boxes = table[:, 0].astype(np.int64), table[:, 1:3], table[:, 3:]
    order: list[int] = np.argsort(boxes.min(axis=1, initial=np.inf), kind="stable")[:_EXAMPLES].tolist()
    counter = Counter((image.width, image.height) for image in images)
    without = [image.file_name for image in images if all(face.box is None for face in image.faces)]
    return Sizes(
        images=sizes,
        common=tuple(sorted(counter.items(), key=lambda item: (-item[1], item[0]))[:_EXAMPLES]),
        boxes=boxes,
        areas=boxes.prod(axis=1) / sizes[owner].prod(axis=1),
        centers=(corners + boxes / 2) / sizes[owner],
        smallest=tuple(
            (images[owner[index]].file_name, float(boxes[index, 0]), float(boxes[index, 1])) for index in order
        ),
        faces_without=sum(face.box is None for image in images for face in image.faces),
        images_without=len(without),
        examples=tuple(without[:_EXAMPLES]),
    )
