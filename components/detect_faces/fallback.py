"""Boxes of annotated faces that no detector found."""

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from components.detect_faces.config import OWN_BOXES, ChooseOptions
from components.shared.dataset.annotations import Box, Image
from serving.runtime.card import Frame

DROPPED = "dropped"
"""In place of a method: the face gets no box and leaves the annotations."""


class Fallback:
    """The end of the chain.

    Args:
        options: which fallback.
        own_boxes: whether the annotations' own boxes are in the chain: such a face keeps its box.
        found: images with one face, which a detector found, and its box.
    """

    def __init__(self, options: ChooseOptions, *, own_boxes: bool, found: Iterable[tuple[Image, Box]]) -> None:
        self._options = options
        self._own_boxes = own_boxes
        shares: dict[str, list[tuple[float, float, float, float]]] = defaultdict(list)
        for image, (left, top, width, height) in found:
            if image.person is not None:
                box = left / image.width, top / image.height, width / image.width, height / image.height
                shares[image.person].append(box)
        self._means = {person: np.mean(boxes, axis=0).tolist() for person, boxes in shares.items()}

    def box(self, image: Image, box: Box | None) -> tuple[str, Box | None]:
        """Return the method and the box of an annotated face that has `box`.

        What fits a photo of one person does not tell the faces of several apart: there a face keeps its box, and one
        without a box is dropped.
        """
        alone = len(image.faces) == 1
        if box is not None and (self._own_boxes or (self._options.fallback != "drop" and not alone)):
            return OWN_BOXES, box
        if self._options.fallback == "drop" or not alone:
            return DROPPED, None
        if self._options.fallback == "whole_image":
            return "whole_image", None
        if image.person in self._means:
            left, top, width, height = self._means[image.person]
            return "person_mean", (left * image.width, top * image.height, width * image.width, height * image.height)
        return "center", center_box(image, self._options.center)


def center_box(image: Image, frame: Frame) -> Box:
    """Return a fixed part of an image as a box."""
    left, top, right, bottom = frame
    return left * image.width, top * image.height, (right - left) * image.width, (bottom - top) * image.height
