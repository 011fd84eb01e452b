"""Confusion matrices as pictures."""

import numpy as np
import pytest

from components.shared.dataset.label_spaces import label_space
from components.shared.report.confusion import confusion_picture


@pytest.mark.parametrize("name", ["mask", "emotion", "mask_gender_age", "label:고양이,개"])
def test_the_shade_of_a_cell_is_the_share_of_its_row(name: str) -> None:
    labels = label_space(name).class_labels
    matrix = np.diag(np.arange(1, len(labels) + 1))
    matrix[0] = 0
    picture = confusion_picture(labels, matrix)
    assert picture.dtype == np.uint8 and picture.shape[2] == 3
    corners = [[picture[-8 - 44 * (len(labels) - row) + 4, -8 - 44 * (len(labels) - column) + 4].mean()
                for column in range(len(labels))] for row in range(len(labels))]  # fmt: skip
    dark = np.array(corners) < 100
    assert np.array_equal(dark, matrix > 0), "rows are truth; an empty row is white"
    turned = confusion_picture(labels, np.roll(matrix, 1, axis=1))
    assert not np.array_equal(turned, picture)


def test_shares_are_written_instead_of_counts() -> None:
    """The shades stay, the texts are others; a row without a face has no share."""
    matrix = np.array([[3, 1], [0, 0]])
    raw, normalized = (confusion_picture(["a", "b"], matrix, normalized=flag) for flag in (False, True))
    assert raw[-8 - 84, -8 - 84].tolist() == normalized[-8 - 84, -8 - 84].tolist(), "the shade of the cell"
    assert not np.array_equal(raw[-96:, -96:], normalized[-96:, -96:])
