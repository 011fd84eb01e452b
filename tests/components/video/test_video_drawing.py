"""Boxes, numbers and labels on frames of any size."""

import numpy as np
import pytest

from components.video.drawing import caption, color, draw_faces
from serving.runtime.image.placement import Box
from serving.runtime.predictor import FaceResult


def face(box: Box) -> FaceResult:
    return FaceResult(box, 0.9, "detector", {"mask": {"worn": 0.98, "none": 0.02}, "age": {"<30": 0.3, "30-59": 0.7}})


def test_a_caption_has_the_number_and_the_best_label_of_every_head() -> None:
    assert caption(3, face((0, 0, 9, 9))) == "#3\nworn 98%\n30-59 70%"
    assert caption(4, FaceResult((0, 0, 9, 9), 0.9, "detector", {})) == "#4"


@pytest.mark.parametrize("size", [(33, 47), (16, 16), (360, 640), (1080, 1920), (1280, 720)])
@pytest.mark.parametrize("corner", [(0.0, 0.0), (0.9, 0.0), (0.0, 0.9), (0.95, 0.95), (0.4, 0.4)])
def test_the_text_lies_in_the_frame_and_the_frame_stays(size: tuple[int, int], corner: tuple[float, float]) -> None:
    frame = np.full((*size, 3), 90, np.uint8)
    box = (corner[0] * size[1], corner[1] * size[0], size[1] / 5, size[0] / 5)
    drawn = draw_faces(frame, [(1, face(box))])
    assert drawn.shape == frame.shape
    assert (frame == 90).all()
    filled = (drawn == color(1)).all(axis=2)
    # The text's ground is whole: as high as at least three lines of the smallest letters, where the frame is.
    assert filled.sum(axis=0).max() >= min(0.6 * size[0], 27, size[0])
    black = (drawn < 60).all(axis=2).sum()
    assert black > 8


def test_numbers_beside_each_other_have_different_colors() -> None:
    colors = [color(number) for number in range(1, 9)]
    for index, one in enumerate(colors):
        for other in colors[index + 1 :]:
            assert max(abs(a - b) for a, b in zip(one, other, strict=True)) > 20
    assert all(0.3 * red + 0.6 * green + 0.1 * blue > 130 for red, green, blue in colors), "black letters on them"
