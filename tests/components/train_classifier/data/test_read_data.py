"""What a configuration makes of the labels of the tiny faces, where everything meets."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from train_samples import config

from components.shared.dataset.annotations import Keypoint, read_annotations, write_annotations
from components.train_classifier.data.faces import read_data
from serving.runtime.errors import InputError


def test_certainty_and_uncertain_persons_are_for_training_alone(dataset: Path, tmp_path: Path) -> None:
    """Persons 3 and 25, of train and of val, are in the table."""
    (tmp_path / "persons.csv").write_text("person\n3\n25\n")
    soft = {"certainty": {"gender": 0.95}, "uncertain": {"gender": str(tmp_path / "persons.csv")}}
    data = read_data(config(label_space="gender", soft_targets=soft), dataset / "annotations.json")
    rows = {"male": [0.95, 0.05], "female": [0.05, 0.95]}
    wanted = [rows[face.attributes["gender"]] for face in data.train.labeled]
    wanted[[face.file_name for face in data.train.labeled].index("3.jpg")] = [0.5, 0.5]
    np.testing.assert_allclose(data.train.targets[0], wanted, atol=1e-6)
    assert [face.file_name for face in data.val.labeled] == [f"{number}.jpg" for number in range(24, 33)]
    np.testing.assert_array_equal(data.val.targets[0], np.eye(2)[[number % 2 for number in range(24, 33)]])


def test_alignment_needs_eyes_of_some_face_and_counts_the_others(
    dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    aligning = config(label_space="gender", crop_rule={"eyes": [[0.3, 0.35], [0.7, 0.35]]})
    with pytest.raises(InputError, match="keypoints left_eye and right_eye, and no labeled face of the train split"):
        read_data(aligning, dataset / "annotations.json")
    plain = read_annotations(dataset / "annotations.json")
    first, *others = plain.images
    points = (Keypoint(3, 4, 2), Keypoint(6, 4, 2))
    known = replace(first, faces=tuple(replace(face, keypoints=points) for face in first.faces))
    names = ("left_eye", "right_eye")
    write_annotations(replace(plain, images=(known, *others), keypoint_names=names), tmp_path / "eyes.json")
    data = read_data(aligning, tmp_path / "eyes.json")
    assert data.train.labeled[0].keypoints == {"left_eye": (3, 4), "right_eye": (6, 4)}
    assert f"{len(data.train.labeled) - len(first.faces)} of {len(data.train.labeled)} faces have no eye" in caplog.text


def test_the_sampler_goes_by_the_space_that_is_named(dataset: Path) -> None:
    for sampling, wanted in [
        ("class_balanced", [number % 3 for number in range(24)]),
        ({"name": "class_balanced", "by": "age"}, [int(number >= 10) for number in range(24)]),
        ({"name": "class_balanced", "by": "gender"}, [number % 2 for number in range(24)]),
    ]:
        data = read_data(config(sampling=sampling), dataset / "annotations.json")
        assert data.classes.tolist() == wanted
