"""One model under an image-level and a person-level split, both scores side by side."""

import json
from pathlib import Path

import pytest
from small_sample import SMALL_TRAINING

from components.shared.dataset.annotations import read_annotations
from components.shared.models.checkpoint import load_checkpoint
from pipelines.classification import ClassificationConfig
from pipelines.environment.settings import Settings
from pipelines.local.leak import RESULT, leak_experiment
from serving.runtime.errors import InputError

TINY = ClassificationConfig(
    label_space="gender_age",
    seed=5,
    learning_rate=0.003,
    val_ratio=0.0,
    test_ratio=0.25,
    **{
        **SMALL_TRAINING,
        "epochs": 12,
        "training": {"workers": 0, "augmentation": {"arguments": {"scale": [0.9, 1.0], "erasing": 0.0}}},
    },
)


def test_a_split_by_image_scores_higher_than_one_by_person(tmp_path: Path) -> None:
    settings = Settings.from_environment({"FACET_HOME": str(tmp_path / "home")})
    said: list[str] = []
    result = leak_experiment(TINY, settings, persons=24, echo=said.append)
    image, person = result.sides["image"], result.sides["person"]
    assert (image.shared_persons > 12, person.shared_persons) == (True, 0)
    assert image.metrics["macro_f1"] > person.metrics["macro_f1"] + 0.1
    table = "\n".join(result.lines())
    assert "by image" in table
    assert f"{image.metrics['macro_f1'] - person.metrics['macro_f1']:+.4f}" in table
    assert json.loads((result.folder / RESULT).read_text())["person"]["shared_persons"] == 0
    assert "These metrics leak" in (result.folder / "image" / "report.html").read_text()
    assert "These metrics leak" not in (result.folder / "person" / "report.html").read_text()
    for side in ("image", "person"):
        divided = read_annotations(result.folder / side / "split.json").info.split
        trained = load_checkpoint(result.folder / side / "checkpoints" / "best.pt")
        assert divided is not None and (divided.seed, trained.config["seed"]) == (5, 5)


def test_nothing_to_compare_without_persons(tmp_path: Path) -> None:
    from pipelines.samples.profiles import draw_sample

    draw_sample(tmp_path / "faces", persons=2)
    settings = Settings.from_environment({"FACET_HOME": str(tmp_path / "home")})
    config = TINY.model_copy(update={"source": str(tmp_path / "faces"), "format": "class_folder"})
    with pytest.raises(InputError, match="which images show one person"):
        leak_experiment(config, settings, echo=lambda line: None)
