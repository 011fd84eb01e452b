import itertools

import pytest

from components.shared.dataset.annotations import Annotations, read_annotations, write_annotations
from components.shared.dataset.info import DatasetInfo
from components.split.split import split


@pytest.fixture
def divide(tmp_path):
    """Write images, split them, and give the report and the annotations that came out."""
    numbers = itertools.count()

    def call(images, space="mask_gender_age", val_ratio=0.2, test_ratio=0.2, seed=0, info=None, **options):
        number = next(numbers)
        source, output = tmp_path / f"images{number}.json", tmp_path / f"split{number}.json"
        write_annotations(Annotations(tuple(images), DatasetInfo.model_validate(info or {})), source)
        before = source.read_bytes()
        report = split(
            source, output, label_space=space, val_ratio=val_ratio, test_ratio=test_ratio, seed=seed, options=options
        )
        assert source.read_bytes() == before
        return report, read_annotations(output)

    return call
