"""Photos lie in the input as ultralytics places them when it predicts."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from components.train_yolo.library import ultralytics
from serving.runtime.card import InputSize, Letterbox
from serving.runtime.detection import letterbox


@given(st.integers(1, 3000), st.integers(1, 3000), st.sampled_from([(160, 160), (320, 192), (640, 640)]))
@settings(max_examples=300, deadline=None)
def test_a_photo_of_any_size_lies_where_ultralytics_places_it(height: int, width: int, size: tuple[int, int]) -> None:
    rule = Letterbox(background=114, position="center", stride=32, enlarge=True)
    place = letterbox((0, 0, width, height), rule, InputSize(height=size[0], width=size[1]))
    placed = ultralytics.data.augment.LetterBox(size, auto=True, stride=32).get_params(
        {"img": np.empty((height, width, 0))}
    )
    x, y, target_width, target_height = place.target
    assert (target_width, target_height) == placed["new_unpad"]
    assert (x, y) == (placed["left"], placed["top"])
    assert place.size == (
        target_height + placed["top"] + placed["bottom"],
        target_width + placed["left"] + placed["right"],
    )
