import itertools

import pytest

from components.curate.curate import curate
from components.shared.dataset.annotations import Annotations, Face, Image, read_annotations, write_annotations
from components.shared.dataset.info import DatasetInfo


@pytest.fixture
def run(tmp_path):
    """Write images, curate them, and give the report and the annotations that came out."""
    numbers = itertools.count()

    def call(images, *operations, info=None):
        number = next(numbers)
        source, output = tmp_path / f"in{number}.json", tmp_path / f"out{number}.json"
        write_annotations(Annotations(tuple(images), DatasetInfo.model_validate(info or {})), source)
        before = source.read_bytes()
        report = curate(source, output, list(operations))
        assert source.read_bytes() == before
        return report, read_annotations(output)

    return call


def emotion_images(counts, split=None, per_person=1, start=1):
    """Make images of emotions; `counts` says how many of each. Persons are named by number."""
    labels = [label for label, count in counts.items() for _ in range(count)]
    return tuple(
        Image(
            index,
            f"{label}/{index}.jpg",
            100,
            100,
            (Face(index, None, {"emotion": label}),),
            person=f"p{(index - 1) // per_person}",
            split=split,
        )
        for index, label in enumerate(labels, start=start)
    )


@pytest.fixture(name="emotion_images")
def emotion_images_fixture():
    return emotion_images
