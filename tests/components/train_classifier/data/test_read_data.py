"""What a configuration makes of the labels of the tiny faces, where everything meets."""

from pathlib import Path

import numpy as np
from train_samples import config

from components.train_classifier.data.faces import read_data


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


def test_the_sampler_goes_by_the_space_that_is_named(dataset: Path) -> None:
    for sampling, wanted in [
        ("class_balanced", [number % 3 for number in range(24)]),
        ({"name": "class_balanced", "by": "age"}, [int(number >= 10) for number in range(24)]),
        ({"name": "class_balanced", "by": "gender"}, [number % 2 for number in range(24)]),
    ]:
        data = read_data(config(sampling=sampling), dataset / "annotations.json")
        assert data.classes.tolist() == wanted
