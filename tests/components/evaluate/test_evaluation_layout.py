"""Truth that comes as class numbers, as the evaluation layout has it: 18 classes, gender and age, or age alone."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture
from sklearn.metrics import f1_score

from components.evaluate.evaluate import evaluate
from components.ingest.ingest import ingest
from components.shared.dataset.annotations import Annotations, Face, Image, read_annotations, write_annotations
from components.shared.dataset.label_spaces import label_space
from components.shared.dataset.predictions import PredictedFace, Predictions, write_predictions
from serving.runtime.errors import InputError

COUNT = 54


def truth(folder: Path, space: str) -> tuple[Annotations, np.ndarray]:
    """The annotations that ingest makes of the layout, and the class numbers."""
    (folder / "eval/images").mkdir(parents=True)
    answers = np.random.default_rng(0).permutation(np.arange(COUNT) % len(label_space(space).class_labels))
    lines = ["ImageID,ans"]
    for number, answer in enumerate(answers.tolist()):
        buffer = io.BytesIO()
        Picture.new("RGB", (12, 16), (number, 99, 200)).save(buffer, "PNG")
        (folder / "eval/images" / f"{number:02d}.png").write_bytes(buffer.getvalue())
        lines.append(f"{number:02d}.png,{answer}")
    (folder / "eval/info.csv").write_text("\n".join(lines) + "\n")
    ingest(str(folder / "eval"), folder / "images", folder / "a.json", format="evaluation", options={"ans": space})
    return read_annotations(folder / "a.json"), answers


def predictions(data: Annotations, space_name: str) -> Predictions:
    space, rng = label_space(space_name), np.random.default_rng(1)
    faces = tuple(PredictedFace(i.id, i.faces[0].id, i.file_name, None, i.sha256) for i in data.images)
    heads = {h.name: rng.dirichlet(np.ones(len(h.labels)), len(faces)).astype(np.float32) for h in space.heads}
    return Predictions(faces, heads, space, "m", "v", data.info.images_digest or "")


@pytest.mark.parametrize("space", ["mask_gender_age", "gender_age", "age"])
@pytest.mark.parametrize("model", ["mask_gender_age", "all", "mask+gender+age"])
def test_a_model_of_mask_gender_and_age_is_scored_by_what_is_known(model: str, space: str, tmp_path: Path) -> None:
    """By class sums of the probabilities, over all classes that differ in what nobody labeled."""
    data, answers = truth(tmp_path, space)
    table = predictions(data, model)
    write_predictions(table, tmp_path / "p.csv")
    result = evaluate(tmp_path / "p.csv", tmp_path / "a.json", tmp_path / "report", floors={"macro_f1": 0.0})
    joint = table.class_probabilities().reshape(-1, 3, 2, 3)
    sums = {"mask_gender_age": joint, "gender_age": joint.sum(axis=1), "age": joint.sum(axis=(1, 2))}[space]
    expected = sums.reshape(COUNT, -1).argmax(axis=1)
    assert result.labels == label_space(space).class_labels
    assert np.sum(result.confusion) == COUNT
    assert result.metrics["accuracy"] == pytest.approx(np.mean(expected == answers))
    assert result.metrics["macro_f1"] == pytest.approx(f1_score(answers, expected, average="macro"))
    assert f"{space if space != 'mask_gender_age' else model} (" in (tmp_path / "report").read_text()


@pytest.mark.parametrize("space", ["gender_age", "age", "gender+age"])
def test_a_model_of_the_same_labels_is_scored(space: str, tmp_path: Path) -> None:
    data, answers = truth(tmp_path, space)
    table = predictions(data, space)
    write_predictions(table, tmp_path / "p.csv")
    result = evaluate(tmp_path / "p.csv", tmp_path / "a.json", tmp_path / "report")
    assert result.metrics["accuracy"] == pytest.approx(np.mean(table.class_probabilities().argmax(axis=1) == answers))


def test_a_floor_on_what_is_not_known_is_refused(tmp_path: Path) -> None:
    data, _ = truth(tmp_path, "gender_age")
    write_predictions(predictions(data, "all"), tmp_path / "p.csv")
    with pytest.raises(InputError, match="no metric 'mask_accuracy' can have a floor.*gender_accuracy"):
        evaluate(tmp_path / "p.csv", tmp_path / "a.json", tmp_path / "report", floors={"mask_accuracy": 0.5})


def test_an_attribute_that_some_faces_have_is_scored_on_these(tmp_path: Path) -> None:
    attributes = {"mask": "worn", "gender": "male", "age": 20}
    faces = [Face(1, None, attributes), Face(2, None, {"gender": "male", "age": 20})]
    data = Annotations(tuple(Image(face.id, f"{face.id}.jpg", 9, 9, (face,), split="test") for face in faces))
    write_annotations(data, tmp_path / "a.json")
    write_predictions(predictions(data, "all"), tmp_path / "p.csv")
    result = evaluate(tmp_path / "p.csv", tmp_path / "a.json", tmp_path / "report")
    assert np.sum(result.confusion) == 1 and len(result.labels) == 18
