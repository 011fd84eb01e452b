"""Promotion: the candidate becomes the champion where it is shown to be better on the same test faces."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from components.promote.aliases import OtherChampionError, Pair, alias_of, move_aliases
from components.promote.compare import Compared, IncomparableError
from components.promote.faces import SameFaces
from components.promote.outcome import Outcome
from components.promote.report import render_report
from components.shared.metrics.paired import fewest_groups
from components.shared.tracking.registry import CHAMPION, find_model, find_version, step_command
from components.shared.tracking.runs import resume_run
from serving.runtime.errors import InputError, StorageError
from serving.runtime.output import check_output, write_text

PAGE = "promotion.html"
_NEW_BOXES = (
    "The faces are those that the new detector found: the champion's classifier is judged on these boxes, not on those "
    "of the detector that it is served with."
)
_NOT_COMPARED = "The detector moves without a comparison: neither its file nor its predictions were given."
_log = logging.getLogger(__name__)


def promote(
    model: Path,
    predictions: Path,
    images: Path,
    annotations: Path,
    report: Path,
    *,
    name: str,
    version: str,
    alias: str = CHAMPION,
    floors_hold: bool = True,
    confidence: float = 0.95,
    composite: str = "",
    composite_version: str = "",
    detector: str = "",
    detector_version: str = "",
    detector_model: Path | None = None,
    detector_predictions: Path | None = None,
    detector_annotations: Path | None = None,
    run_id: str = "",
    address: str = "",
) -> Outcome:
    """Compare a registered version with the champion on the same test faces, and promote it where it is better.

    The champion is downloaded and predicts the images of the candidate's predictions, as it is served. The candidate is
    better when it scores higher in at least `confidence` of the resamples, see `compare_models`. Where that is not
    shown, also where both answer the same or there are fewer persons or photos than `fewest_groups`, the champion
    stays. Without a champion the candidate becomes it.

    A detector that was trained with the model is compared with its own champion, where its predictions are given: where
    it is shown to be worse, or cannot be compared, all stay as they are. The aliases of the detector and of the
    composite move after that of the model. An alias moves only while the champion is the version that was compared;
    else the comparison is made anew. The same call once more changes nothing, and completes what was interrupted.

    Args:
        model: folder with the candidate's `model.onnx`, or the file itself.
        predictions: those of the candidate on the test split.
        images: folder with the image archives.
        annotations: COCO JSON that was predicted.
        report: the HTML file to write.
        name: of the model in the registry.
        version: the candidate.
        alias: what moves.
        floors_hold: whether the floors hold; the champion stays where they do not.
        confidence: share of the resamples in which a better model scores higher, above 0.5 and at most 1.
        composite: name of the composite that has this version as a member; "" for none.
        composite_version: its version; "" for none.
        detector: name of the detector that was trained with the model; "" for none.
        detector_version: its version; "" for none.
        detector_model: folder with the detector's `model.onnx`; None moves it without a comparison.
        detector_predictions: those of the detector on the test split; None likewise.
        detector_annotations: those that the detector predicted; None for `annotations`.
        run_id: MLflow run that gets the metrics and the report; "" for none.
        address: where the model is kept, where this machine is a pod and has a copy that it does not keep.

    Raises:
        InputError: no tracking server is configured, or the predictions are not those of the model, the annotations and
            the images.
        NotFoundError: there is no such version or run.
        StorageError: MLflow cannot be used; then the message has the commands that promote later.
    """
    if not 0.5 < confidence <= 1:
        raise InputError(f"confidence must be above 0.5 and at most 1, got {confidence}")
    its = (detector_model, detector_predictions, detector_annotations)
    check_output(report, model, predictions, images, annotations, *(path for path in its if path is not None))
    others = [(detector, detector_version), (composite, composite_version)]
    pairs = [(name, version), *((other, number) for other, number in others if other and number)]

    def read_tests() -> dict[str, SameFaces]:
        tests = {name: SameFaces(model, predictions, images, annotations, name, version)}
        if detector and detector_version and detector_model is not None and detector_predictions is not None:
            boxes = detector_annotations or annotations
            tests[detector] = SameFaces(detector_model, detector_predictions, images, boxes, detector, detector_version)
        return tests

    try:
        outcome = _decide(pairs, read_tests, alias, floors_hold, confidence, run_id)
        run = resume_run(run_id, tolerant=True)
    except StorageError as error:
        options: dict[str, str | Path] = {"model": model, "predictions": predictions, "images": images}
        options |= {"annotations": annotations, "report": report.with_suffix(".html"), "name": name, "version": version}
        options |= {"alias": alias} if alias != CHAMPION else {}
        for key, other, number in (
            ("composite", composite, composite_version), ("detector", detector, detector_version)
        ):  # fmt: skip
            options |= {key: other, f"{key}-version": number} if number else {}
        names = ("detector-model", "detector-predictions", "detector-annotations")
        options |= {key: path for key, path in zip(names, its, strict=True) if path is not None}
        raise type(error)(f"{error}\n{_how_later(options, address, floors_hold)}") from error
    if outcome.promoted and detector_version and detector_predictions is None:
        outcome = replace(outcome, notes=(*outcome.notes, _NOT_COMPARED))
    page = render_report(outcome, name, version, alias, confidence)
    write_text(report, page)
    _log.info("%s", outcome.reason)
    for note in outcome.notes:
        _log.warning("%s", note)
    run.metrics({f"Promotion/{key}": value for key, value in outcome.metrics().items()})
    run.text(page, PAGE)
    return outcome


def _decide(
    pairs: Sequence[Pair],
    read_tests: Callable[[], dict[str, SameFaces]],
    alias: str,
    floors_hold: bool,
    confidence: float,
    run_id: str,
) -> Outcome:
    """Compare and promote; `read_tests` gives what is compared by name, the model first."""
    name = pairs[0][0]
    for pair in pairs:
        find_version(*pair)
    if not floors_hold:
        at = alias_of(find_model(name), alias)
        return Outcome(False, f"Not promoted: the floors do not hold{_stays(at, alias)}.", at)
    tests = read_tests()
    while True:
        champions = {one: alias_of(find_model(one), alias) for one in tests}
        outcome = _judge(tests[name], champions[name], alias, confidence)
        if not outcome.promoted:
            return outcome
        for other in list(tests)[1:]:
            if outcome.compared is None and champions[name]:  # it is the champion already: what was begun is completed
                continue
            if champions[other] not in ("", tests[other].version):
                outcome = _with_detector(outcome, tests[other], champions[other], alias, confidence)
        if not outcome.promoted:
            return outcome
        try:
            moved = move_aliases(pairs, alias, expected=champions, reason=outcome.reason, run_id=run_id)
        except OtherChampionError as other:
            _log.warning("version %s of '%s' became the %s meanwhile; compared anew", other.version, other.name, alias)
            continue
        return replace(outcome, moved=tuple(moved))


def _judge(test: SameFaces, champion: str, alias: str, confidence: float) -> Outcome:
    """Say whether the model should have the alias of the champion; nothing moves."""
    if not champion:
        return Outcome(True, f"Promoted: '{test.name}' had no {alias} yet.")
    if champion == test.version:
        return Outcome(True, f"Version {test.version} of '{test.name}' is the {alias} already.", champion)
    try:
        compared, notes = test.compare_with(champion)
    except IncomparableError as error:
        return Outcome(
            False,
            f"Not promoted: the candidate cannot be compared with the {alias}, version {champion}, which stays: "
            f"{error}. To promote it without a comparison: facet promote {test.name} {test.version}",
            champion,
        )
    return Outcome(*_verdict(compared, test.version, champion, alias, confidence), champion, compared, notes=notes)


def _with_detector(outcome: Outcome, test: SameFaces, champion: str, alias: str, confidence: float) -> Outcome:
    """Return the outcome for a model with its detector, which must not be shown to be worse than its own champion."""
    here = f"the detector, '{test.name}' version {test.version}"
    its = f"its {alias}, version {champion}"
    try:
        compared, notes = test.compare_with(champion)
    except IncomparableError as error:
        reason = f"Not promoted: {here}, cannot be compared with {its}, and all stay as they are: {error}."
        return replace(outcome, promoted=False, reason=reason)
    boxes = (_NEW_BOXES,) if outcome.compared is not None else ()
    said = (*outcome.notes, *boxes, *(f"Of the detector: {note}" for note in notes))
    outcome = replace(outcome, detector=compared, notes=said)
    if compared.paired.worse < confidence or compared.paired.groups < fewest_groups(confidence):
        return outcome
    shown = f"{_scores(compared)}, {_share(compared, compared.paired.worse, 'lower', confidence)}"
    reason = f"Not promoted: {here}, is worse than {its}, and all stay as they are: {shown}."
    return replace(outcome, promoted=False, reason=reason)


def _verdict(one: Compared, version: str, champion: str, alias: str, confidence: float) -> tuple[bool, str]:
    paired, needed = one.paired, fewest_groups(confidence)
    if one.equal:
        return False, f"Not promoted: it answers as the {alias}, version {champion}, does; a tie keeps the {alias}."
    if paired.groups < needed:
        return False, (
            f"Not promoted: version {version} cannot be shown to be better than the {alias}, version {champion}: "
            f"{_scores(one)}, of {_counted(paired.groups, one.unit)}. At least {needed} are needed: one of two equal "
            f"models is ahead for all of fewer in more than {1 - confidence:.2%} of cases."
        )
    better, scores = paired.better >= confidence, _scores(one)
    shown = f"{scores}, {_share(one, paired.better, 'higher', confidence)}."
    if better:
        return True, f"Promoted: version {version} is better than the {alias}, version {champion}: {shown}"
    if paired.worse >= confidence:
        return False, f"Not promoted: version {version} is worse than the {alias}, version {champion}: {shown}"
    return (
        False,
        f"Not promoted: version {version} is not shown to be better than the {alias}, version {champion}: {shown}",
    )


def _scores(one: Compared) -> str:
    first, second = one.paired.first, one.paired.second
    return f"{one.title} {first:.4f} against {second:.4f} on {one.faces:,} faces in {one.images:,} images"


def _share(one: Compared, share: float, which: str, confidence: float) -> str:
    groups = _counted(one.paired.groups, one.unit)
    drawn = f"{one.paired.resamples:,} resamples by {one.unit} ({groups})"
    return f"{which} in {share:.1%} of {drawn}, {confidence:.0%} are asked"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _stays(champion: str, alias: str) -> str:
    return f"; version {champion} stays the {alias}" if champion else f"; there is no {alias} yet"


def _how_later(options: dict[str, str | Path], address: str, floors_hold: bool) -> str:
    """Return the commands that promote later, with and without the comparison."""
    remote = "://" in address
    files = {"predictions": "FILE", "annotations": "FILE", "report": "FILE.html"}
    files |= {"detector-predictions": "FILE", "detector-annotations": "FILE"}
    name, version = options["name"], options["version"]
    if not floors_hold:
        return f"Version {version} of '{name}' is registered; its floors do not hold, so it was not to be promoted."
    copies = ", from copies of the artifacts in a FOLDER of yours" if remote else ""
    return (
        f"Version {version} of '{name}' is registered and nothing of it is lost. Compare and promote it later with"
        f"{copies}:\n{step_command('promote', options, files, remote=remote)}\nor without a comparison:\n"
        f"facet promote {name} {version}"
    )
