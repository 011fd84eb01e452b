"""Several classifiers that answer as one: held against each of them alone."""

import itertools
from pathlib import Path

import numpy as np
import onnx
import pytest
from green_faces import write_detector
from onnx import numpy_helper
from prediction_models import classifier_bytes, photo_bytes, write_classifier

from components.shared.dataset.label_spaces import label_space
from components.shared.prediction.ensemble import Ensemble, open_models
from components.shared.prediction.found_models import find_models
from components.shared.prediction.photo_set import GivenFace
from serving.runtime.card import NOTIFY_THRESHOLD
from serving.runtime.detector import Detector
from serving.runtime.errors import InputError, StorageError
from serving.runtime.image.photo import Photo
from serving.runtime.load import open_model
from serving.runtime.predictor import Classifier

BOX = (10.0, 12.0, 40.0, 50.0)
PHOTO = photo_bytes(5)


def classifier(space: str, seed: int = 7, **changes: object) -> Classifier:
    model = open_model(classifier_bytes(space, seed, **changes))  # type: ignore[arg-type]
    assert isinstance(model, Classifier)
    return model


def answer(model: Classifier | Ensemble, box: tuple | None = BOX) -> dict[str, dict[str, float]]:
    if isinstance(model, Ensemble):
        return model.classify(Photo(PHOTO), GivenFace(1, box)).heads
    ((face,),) = model.predict([(Photo(PHOTO), [box] if box else [])])
    return face.heads


@pytest.mark.parametrize("space", ["mask", "all", "mask_gender_age"])
def test_one_model_answers_what_it_answers_when_it_serves_to_the_last_bit(space: str) -> None:
    model = classifier(space)
    ensemble = Ensemble([model])
    for box in (BOX, None):
        ((served,),) = model.predict([(Photo(PHOTO), [box] if box else [])])
        assert ensemble.classify(Photo(PHOTO), GivenFace(1, box)) == served
    assert (ensemble.name, ensemble.version, ensemble.space) == (model.name, model.version, label_space(space))


def test_folds_are_averaged_as_by_hand_each_with_its_own_input_and_crop_rule() -> None:
    folds = [
        classifier("all", 1),
        classifier("all", 2, height=24, width=24, crop={"scale": 2.0}),
        classifier("all", 3, crop={"scale": 1.0, "mode": "square"}),
    ]
    answers = [answer(fold) for fold in folds]
    for rule, by_hand in (
        ("mean", lambda several: np.mean(several, axis=0)),
        ("log_mean", lambda several: (product := np.prod(several, axis=0) ** (1 / 3)) / product.sum()),
    ):
        together = answer(Ensemble(folds, combine=rule))
        for head in label_space("all").heads:
            expected = by_hand(
                np.array([[one[head.name][label] for label in head.labels] for one in answers], np.float64)
            )
            np.testing.assert_allclose(list(together[head.name].values()), expected, atol=1e-6)


def test_the_order_of_the_members_changes_nothing_and_everything_else_changes_the_version() -> None:
    folds = [classifier("mask", seed, name=name) for seed, name in ((1, "b"), (2, "a"), (3, "b"))]
    ensembles = [Ensemble(list(order)) for order in itertools.permutations(folds)]
    assert len({(one.name, one.version, str(answer(one))) for one in ensembles}) == 1
    assert ensembles[0].name == "a+b" and len(ensembles[0].version) == 12
    others = [Ensemble(folds[:2]), Ensemble(folds, combine="log_mean"), Ensemble(folds, tta=["flip"]),
              Ensemble(folds, tta=["scale:1.1"]), Ensemble(folds, tta=["scale:1.2"])]  # fmt: skip
    assert len({one.version for one in (ensembles[0], *others)}) == 6
    flipped = Ensemble(folds[:1], tta=["flip"])
    assert flipped.name == "b" and flipped.version != folds[0].version


def test_a_model_for_masks_and_one_for_gender_and_age_give_the_18_classes() -> None:
    masks = [classifier("mask", 1), classifier("mask", 2, height=24, width=24)]
    ages = classifier("gender_age", 3, crop={"scale": 2.0})
    ensemble = Ensemble([ages, *masks])
    face = ensemble.classify(Photo(PHOTO), GivenFace(1, BOX, 0.5))
    mask = np.mean([list(answer(one)["mask"].values()) for one in masks], axis=0)
    expected = np.outer(mask, list(answer(ages)["gender_age"].values())).ravel()
    np.testing.assert_allclose(list(face.heads["mask_gender_age"].values()), expected, atol=1e-6)
    assert tuple(face.heads["mask_gender_age"]) == label_space("mask_gender_age").class_labels
    assert ensemble.name == "tiny_gender_age+tiny_mask" and face.score == 0.5
    assert face.notice is not None and face.notice.confidence == pytest.approx(mask[1:].sum(), abs=1e-6)


def favoring(space: str, index: int) -> Classifier:
    """A classifier of a space of one head that always gives one class the highest probability."""
    model = onnx.load_from_string(classifier_bytes(space))
    for weights in model.graph.initializer:
        if weights.name == f"{space}.weight":
            values = np.zeros(tuple(weights.dims), np.float32)
            values[:, index] = 0.1
            weights.CopyFrom(numpy_helper.from_array(values, weights.name))
    opened = open_model(model.SerializeToString())
    assert isinstance(opened, Classifier)
    return opened


def test_all_18_combinations_follow_the_rule() -> None:
    """The class is 6*mask + 3*gender + age; it is noticed where the mask is not worn."""
    masks, ages = ([favoring(space, n) for n in range(count)] for space, count in (("mask", 3), ("gender_age", 6)))
    names = [label_space(space).class_labels for space in ("mask", "gender", "age")]
    for mask, gender, age in itertools.product(range(3), range(2), range(3)):
        ensemble = Ensemble([ages[3 * gender + age], masks[mask]])
        face = ensemble.classify(Photo(PHOTO), GivenFace(1, BOX))
        heads = face.heads["mask_gender_age"]
        number = list(heads.values()).index(max(heads.values()))
        assert number == 6 * mask + 3 * gender + age
        assert list(heads)[number] == "/".join((names[0][mask], names[1][gender], names[2][age]))
        alone = masks[mask].predict([(Photo(PHOTO), [BOX])])[0][0].notice
        assert face.notice is not None and alone is not None
        assert (face.notice.notify, face.notice.reason) == (alone.notify, alone.reason)
        assert face.notice.confidence == pytest.approx(alone.confidence, abs=1e-6)


def test_folds_of_other_thresholds_notify_from_the_default_one_on(caplog: pytest.LogCaptureFixture) -> None:
    rules = [{"head": "mask", "reasons": {"absent": ["absent"]}, "threshold": value} for value in (0.2, 0.2, 0.7)]
    folds = [classifier("mask", seed, notify=rule) for seed, rule in enumerate(rules)]
    alike = Ensemble(folds[:2])
    assert alike.notify == folds[0].card.notify and not caplog.text
    ensemble = Ensemble(folds)
    assert ensemble.notify is not None and ensemble.notify.threshold == NOTIFY_THRESHOLD
    assert ensemble.notify.labels == ("absent",) and "calibrate the combined model" in caplog.text
    assert Ensemble([classifier("gender")]).notify is None


def test_models_that_cannot_be_combined_are_refused() -> None:
    mask, gender = classifier("mask"), classifier("gender")
    with pytest.raises(InputError, match="no model is named"):
        Ensemble([])
    with pytest.raises(InputError, match=r"can be combined when all predict the same.*tiny_gender \w+: gender"):
        Ensemble([mask, gender])
    with pytest.raises(InputError, match="of mask and gender_age"):
        Ensemble([mask, classifier("gender_age"), classifier("mask_gender_age")])
    with pytest.raises(InputError, match="'tiny_mask' .* is named twice"):
        Ensemble([mask, mask])
    with pytest.raises(InputError, match="unknown rule 'vote'"):
        Ensemble([mask], combine="vote")


def test_the_models_of_folds_are_found_in_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "several"
    for number in (10, 2, 0):
        write_classifier(folder / f"fold-{number}", "mask", number + 1)
    write_classifier(folder / "fold-3/checkpoints", "mask", 9)
    (folder / "notes.txt").write_text("")
    folds = [f"{folder}/fold-{number}" for number in (0, 2, 10)]
    assert find_models(str(folder)) == folds, "in the order of their numbers, and not those further below"
    models = open_models([str(folder)])
    assert isinstance(models, Ensemble) and len(models.members) == 3
    for single in (folder / "fold-2", folder / "fold-2/model.onnx"):
        assert find_models(str(single)) == [str(single)]
    assert find_models("models:/faces@champion") == ["models:/faces@champion"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(StorageError, match=r"expected model\.onnx"):
        open_models([str(tmp_path / "empty")])


def test_a_detector_is_opened_alone_and_without_views(tmp_path: Path) -> None:
    detector, mask = str(write_detector(tmp_path / "d")), str(write_classifier(tmp_path / "m", "mask"))
    assert isinstance(open_models([detector]), Detector)
    with pytest.raises(InputError, match="of task 'detection'; only classifiers can be combined"):
        open_models([mask, detector])
    with pytest.raises(InputError, match="of task 'detection'; tta is for classifiers"):
        open_models([detector], tta=["flip"])
    with pytest.raises(InputError, match="of task 'detection'; combine is for classifiers, leave it out"):
        open_models([detector], combine="log_mean")
