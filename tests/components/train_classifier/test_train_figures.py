from typing import Any

import numpy as np
import pytest
from PIL import ImageDraw

from components.shared.dataset.label_spaces import label_space
from components.shared.metrics.classification import label_scores
from components.train_classifier.record import (
    EXAMPLES,
    class_table,
    example_indices,
    prediction_grid,
)


def test_the_table_has_every_class_and_marks_absent_ones() -> None:
    """A class that is only ever guessed has no accuracy either."""
    truth, guess = np.array([0, 0, 0, 2]), np.array([0, 0, 1, 2])
    lines = class_table(["worn", "incorrect", "absent", "none"], label_scores(truth, guess, 4).classes).splitlines()
    assert [line.split() for line in lines] == [
        ["class", "correct", "total", "accuracy"],
        ["worn", "2", "3", "0.6667"],
        ["incorrect", "0", "0", "X"],
        ["absent", "1", "1", "1.0000"],
        ["none", "0", "0", "X"],
    ]


@pytest.mark.parametrize("name", ["mask", "gender_age", "mask_gender_age", "all", "emotion", "mask:worn,absent"])
@pytest.mark.parametrize("count", [0, 1, 5, 16, 30])
def test_a_grid_of_any_space_and_number(name: str, count: int) -> None:
    """One size for a label space, something in the cells that are taken, nothing in the others."""
    labels = label_space(name).class_labels
    rng = np.random.default_rng(0)
    pictures = [(rng.integers(0, 200, (48, 36, 3), dtype=np.uint8), at % len(labels), 0) for at in range(count)]
    grid = prediction_grid(pictures, labels)
    assert grid.dtype == np.uint8 and grid.shape == prediction_grid([], labels).shape
    cells = [cell for row in np.split(grid, 4, axis=0) for cell in np.split(row, 4, axis=1)]
    assert [bool((cell != 255).any()) for cell in cells] == [at < count for at in range(EXAMPLES)]


def test_right_is_green_and_wrong_is_red() -> None:
    picture = np.full((20, 20, 3), 255, np.uint8)
    for guess in (0, 1):
        red, green = np.moveaxis(prediction_grid([(picture, 0, guess)], ["worn", "absent"]).astype(int), 2, 0)[:2]
        assert ((green - red > 50).any(), (red - green > 50).any()) == (guess == 0, guess == 1)


@pytest.mark.parametrize(
    ("name", "captions"),
    [("mask", ["worn", "incorrect", "absent"]), ("gender_age", ["male\n  <30", "male\n  30-59", "male\n  >=60"])],
)
def test_captions_tell_the_truth_above_and_the_guess_below(
    name: str, captions: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three pictures of one row, each with its two captions under it."""
    drawn: list[tuple[float, float, str]] = []

    def write(self: ImageDraw.ImageDraw, at: tuple[float, float], text: str, **options: Any) -> None:
        drawn.append((*at, text))

    monkeypatch.setattr(ImageDraw.ImageDraw, "multiline_text", write)
    picture = np.zeros((20, 20, 3), np.uint8)
    grid = prediction_grid([(picture, 0, 2), (picture, 1, 1), (picture, 2, 0)], label_space(name).class_labels)
    cell_height, cell_width = grid.shape[0] // 4, grid.shape[1] // 4
    above, under = ([text for *_, text in drawn[first::2]] for first in (0, 1))
    assert above == [f"is {captions[at]}" for at in (0, 1, 2)]
    assert under == [f"got {captions[at]}" for at in (2, 1, 0)]
    for at, ((left, top, _), (same, below, _)) in enumerate(zip(drawn[::2], drawn[1::2], strict=True)):
        assert at * cell_width <= left == same < (at + 1) * cell_width
        assert np.argwhere((grid[:cell_height] == 0).all(axis=2))[:, 0].max() < top < below < cell_height


@pytest.mark.parametrize(("count", "expected"), [(0, 0), (1, 1), (7, 7), (16, 16), (1000, 16)])
def test_example_indices_are_evenly_distributed(count: int, expected: int) -> None:
    chosen = example_indices(count)
    assert len(chosen) == expected and all(0 <= at < count for at in chosen)
    assert not chosen or (chosen[0], chosen[-1]) == (0, count - 1)
    gaps = np.diff(chosen)
    assert not len(gaps) or gaps.max() - gaps.min() <= 1
