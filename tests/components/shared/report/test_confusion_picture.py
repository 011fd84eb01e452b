import numpy as np
import pytest

from components.shared.dataset.label_spaces import label_space
from components.shared.report.confusion_picture import confusion_picture


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
