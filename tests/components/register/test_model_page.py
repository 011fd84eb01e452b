"""The page of a registered model: what is known, and nothing else."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from register_models import write_model, write_predicted
from tiny_model import card_facts, detection_facts

from components.register.page import LONGEST_DESCRIPTION, EvaluationFacts, description, model_page, read_details
from components.register.register import register
from components.shared.dataset.predictions import read_predictions
from components.shared.tracking.runs import open_run
from components.shared.tracking.server import mlflow_client
from serving.runtime.card import ClassificationCard, DetectionCard
from serving.runtime.errors import InputError


def sections(page: str) -> dict[str, str]:
    parts = page.split("\n## ")
    return dict(part.split("\n\n", 1) for part in parts[1:])


def classifier(**changes: Any) -> ClassificationCard:
    return ClassificationCard.model_validate(card_facts(**changes))


def test_what_is_known_is_on_the_page(tmp_path: Path) -> None:
    predictions, _ = write_predicted(tmp_path)
    (tmp_path / "classes.csv").write_text("class,f1,faces\nmale,0.123456,30\nfe|male,,1\n")
    group = {"dimension": "age", "value": "old", "faces": 1030, "accuracy": 0.6, "macro_f1": 0.5}
    metrics = {"accuracy": 0.75, "accuracy_low": 0.25, "accuracy_high": 0.875}
    (tmp_path / "metrics.json").write_text(json.dumps({"metrics": metrics, "without_value": [], "worst_group": group}))
    facts = EvaluationFacts(
        {"accuracy": 0.75, "macro_f1": 0.5, "log_loss": 0.3}, {"macro_f1": 0.8}, read_predictions(predictions),
        read_details(tmp_path),
    )  # fmt: skip
    params = {"config.model": "resnet18", "config.network.pretrained": "imagenet", "config.epochs": "3"}
    page = sections(model_page(classifier(leaks=True), facts, params))
    assert list(page) == [
        "What it is", "Training", "Scores on the test split", "Classes", "What it is for", "Limits", "Licenses",
    ]  # fmt: skip
    assert "3 probabilities (`worn`, `incorrect`, `absent`)" in page["What it is"]
    assert f"annotations: `{'0' * 64}`" in page["Training"] and "- epochs: `3`" in page["Training"]
    assert "4 predicted faces in 4 images." in page["Scores on the test split"]
    table = page["Scores on the test split"]
    assert "| metric | value | 95 % interval | floor |\n|---|---:|---:|---:|\n" in table
    assert "| `macro_f1` | 0.5000 |  | 0.8 |\n| `accuracy` | 0.7500 | 0.2500 to 0.8750 |  |" in table
    assert "| `log_loss` (lower is better) | 0.3000 |  |  |" in table
    assert "| male | 0.1235 | 30 |\n| fe\\|male |  | 1 |" in page["Classes"]
    assert "share persons" in page["Limits"] and "It missed the floor of `macro_f1`" in page["Limits"]
    assert "small, 4 faces; the accuracy is between 0.250 and 0.875 (95 %)." in page["Limits"]
    assert "right least often about `age` `old`, of 1,030 faces: accuracy 0.600." in page["Limits"]
    assert "1 of 2 classes have fewer than 30 test faces" in page["Limits"]
    assert "Apache-2.0" in page["Licenses"] and "`imagenet`, under the terms" in page["Licenses"]
    assert "AGPL" not in page["Licenses"]


def test_what_is_not_known_is_said() -> None:
    page = sections(model_page(classifier(dataset_digest="", precision="int8"), EvaluationFacts(), {}))
    assert page["Scores on the test split"].strip() == "Not known: it was registered without an evaluation."
    assert "What it was trained on is not known." in page["Limits"] and "computes in int8" in page["Limits"]
    assert "weights at the start: not recorded" in page["Licenses"]
    card = DetectionCard.model_validate(detection_facts(versions={"ultralytics": "8.4"}))
    page = sections(model_page(card, EvaluationFacts(), {"config.model": "yolo11n.pt"}))
    assert "AGPL-3.0" in page["Licenses"] and "those of `yolo11n.pt`" in page["Licenses"]
    page = sections(model_page(card, EvaluationFacts(), {"config.model": "yolo11n.yaml"}))
    assert "weights at the start: random" in page["Licenses"]


def test_names_are_text_and_not_markup() -> None:
    page = model_page(classifier(name="<img src=x>\n# *bold* [a](b)"), EvaluationFacts(), {})
    assert page.startswith("# \\<img src=x> \\# \\*bold\\* \\[a\\](b)\n\n")


@given(st.lists(st.text(alphabet="ab \n", max_size=3000), max_size=8))
@settings(deadline=None)
def test_a_description_fits(parts: list[str]) -> None:
    page = "# title" + "".join(f"\n\n## part\n\n{part}" for part in parts)
    text = description(page)
    assert len(text) <= LONGEST_DESCRIPTION and (text == page) == (len(page) <= LONGEST_DESCRIPTION)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("classes.csv", b"a,b\n1\n", "rows are not equally long"), ("classes.csv", b"\xff", "CSV in UTF-8"),
        *(("metrics.json", content, "leave the file as evaluate wrote it")
          for content in (b"{", b"[]", b"{}", b'{"metrics": {"f1_low": 1}}',
                          b'{"metrics": {}, "worst_group": {"value": 1}}')),
    ],
)  # fmt: skip
def test_a_damaged_file_is_named(tmp_path: Path, file: str, content: bytes, message: str) -> None:
    (tmp_path / file).write_bytes(content)
    with pytest.raises(InputError, match=f"{file}: .*{message}"):
        read_details(tmp_path)


def test_the_page_is_a_file_of_the_version_and_its_description(tracking: str, tmp_path: Path) -> None:
    with open_run("pages", params={"config": {"model": "resnet18"}}) as run:
        pass
    done = register(
        write_model(tmp_path / "model"), name="pages", metrics={"macro_f1": 0.5}, floors={"macro_f1": 0.4},
        run_id=run.run_id,
    )  # fmt: skip
    from mlflow.artifacts import download_artifacts

    page = Path(download_artifacts(f"models:/pages/{done.version}/model.md", dst_path=str(tmp_path))).read_text()
    assert mlflow_client().get_model_version("pages", done.version).description == page
    assert "- model: `resnet18`" in page and "weights at the start: random" in page
