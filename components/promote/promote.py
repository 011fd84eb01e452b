"""Promotion: the candidate becomes the champion where it is shown to be better on the same test faces."""

import logging
from collections.abc import Sequence
from pathlib import Path

from components.promote.aliases import OtherChampionError, Pair, alias_of, move_aliases
from components.promote.compare import Compared, IncomparableError
from components.promote.faces import SameFaces
from components.promote.outcome import Outcome
from components.promote.report import render_report
from components.shared.tracking.registry import CHAMPION, find_model, find_version, step_command
from components.shared.tracking.runs import resume_run
from serving.runtime.errors import InputError, StorageError
from serving.runtime.output import check_output, write_text

PAGE = "promotion.html"
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
    run_id: str = "",
    address: str = "",
) -> Outcome:
    """Compare a registered version with the champion on the same test faces, and promote it where it is better.

    The champion is downloaded and predicts the images of the candidate's predictions, as it is served. The candidate is
    better when it scores higher in at least `confidence` of the resamples, see `compare`. Where that is not shown, also
    where both answer the same, the champion stays. Without a champion the candidate becomes it.

    The alias moves only while the champion is the version that was compared; else the comparison is made anew with the
    other one. The aliases of the detector and of the composite move after that of the model. The same call once more
    changes nothing, and completes what was interrupted.

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
        run_id: MLflow run that gets the metrics and the report; "" for none.
        address: where the model is kept, where `model` is a copy that goes with this machine.

    Raises:
        InputError: no tracking server is configured, or the predictions are not those of the model, the annotations and
            the images.
        NotFoundError: there is no such version or run.
        StorageError: MLflow cannot be used; then the message has the commands that promote later.
    """
    if not 0.5 < confidence <= 1:
        raise InputError(f"confidence must be above 0.5 and at most 1, got {confidence}")
    check_output(report, model, predictions, images, annotations)
    others = [(detector, detector_version), (composite, composite_version)]
    pairs = [(name, version), *((other, number) for other, number in others if other and number)]
    try:
        outcome = _decide(model, predictions, images, annotations, pairs, alias, floors_hold, confidence, run_id)
        run = resume_run(run_id, tolerant=True)
    except StorageError as error:
        options: dict[str, str | Path] = {"model": model, "predictions": predictions, "images": images}
        options |= {"annotations": annotations, "report": report.with_suffix(".html"), "name": name, "version": version}
        options |= {"alias": alias} if alias != CHAMPION else {}
        for key, other, number in (
            ("composite", composite, composite_version), ("detector", detector, detector_version)
        ):  # fmt: skip
            options |= {key: other, f"{key}-version": number} if number else {}
        raise type(error)(f"{error}\n{_how_later(options, address, floors_hold)}") from error
    page = render_report(outcome, name, version, alias, confidence)
    write_text(report, page)
    _log.info("%s", outcome.reason)
    for note in outcome.notes:
        _log.warning("%s", note)
    run.metrics({f"Promotion/{key}": value for key, value in outcome.metrics().items()})
    run.text(page, PAGE)
    return outcome


def _decide(
    model: Path,
    predictions: Path,
    images: Path,
    annotations: Path,
    pairs: Sequence[Pair],
    alias: str,
    floors_hold: bool,
    confidence: float,
    run_id: str,
) -> Outcome:
    (name, version), *_ = pairs
    for pair in pairs:
        find_version(*pair)
    if not floors_hold:
        at = alias_of(find_model(name), alias)
        return Outcome(False, f"Not promoted: the floors do not hold{_stays(at, alias)}.", at)
    test = SameFaces(model, predictions, images, annotations)
    test.check_candidate(name, version)
    while True:
        champion = alias_of(find_model(name), alias)
        outcome = _judge(test, name, version, champion, alias, confidence)
        if not outcome.promoted:
            return outcome
        try:
            moved = move_aliases(pairs, alias, expected=champion, reason=outcome.reason, run_id=run_id)
        except OtherChampionError as other:
            _log.warning("version %s of '%s' became the %s meanwhile; it is compared too", other.version, name, alias)
            continue
        return Outcome(True, outcome.reason, champion, outcome.compared, outcome.notes, tuple(moved))


def _judge(test: SameFaces, name: str, version: str, champion: str, alias: str, confidence: float) -> Outcome:
    """Say whether the version should have the alias of the champion; nothing moves."""
    if not champion:
        return Outcome(True, f"Promoted: '{name}' had no {alias} yet.")
    if champion == version:
        return Outcome(True, f"Version {version} of '{name}' is the {alias} already.", champion)
    try:
        compared, notes = test.compare_with(name, champion)
    except IncomparableError as error:
        return Outcome(
            False,
            f"Not promoted: the candidate cannot be compared with the {alias}, version {champion}, which stays: "
            f"{error}. To promote it without a comparison: facet promote {name} {version}",
            champion,
        )
    return Outcome(*_verdict(compared, version, champion, alias, confidence), champion, compared, notes)


def _verdict(one: Compared, version: str, champion: str, alias: str, confidence: float) -> tuple[bool, str]:
    paired = one.paired
    scores = (
        f"{one.title} {paired.first:.4f} against {paired.second:.4f} on {one.faces:,} faces in {one.images:,} images"
    )
    share = (
        f"higher in {paired.better:.1%} of {paired.resamples:,} resamples by {one.unit} ({paired.groups:,} "
        f"{one.unit}s), {confidence:.0%} are asked"
    )
    if one.equal:
        return False, f"Not promoted: it answers as the {alias}, version {champion}, does; a tie keeps the {alias}."
    if paired.better >= confidence:
        return True, f"Promoted: version {version} is better than the {alias}, version {champion}: {scores}, {share}."
    if paired.worse >= confidence:
        return (
            False,
            f"Not promoted: version {version} is worse than the {alias}, version {champion}: {scores}, {share}.",
        )
    return False, (
        f"Not promoted: version {version} is not shown to be better than the {alias}, version {champion}: {scores}, "
        f"{share}."
    )


def _stays(champion: str, alias: str) -> str:
    return f"; version {champion} stays the {alias}" if champion else f"; there is no {alias} yet"


def _how_later(options: dict[str, str | Path], address: str, floors_hold: bool) -> str:
    """Return the commands that promote later, with and without the comparison."""
    remote = "://" in address
    files = {"predictions": "FILE", "annotations": "FILE", "report": "FILE.html"}
    name, version = options["name"], options["version"]
    if not floors_hold:
        return f"Version {version} of '{name}' is registered; its floors do not hold, so it was not to be promoted."
    copies = ", from copies of the artifacts in a FOLDER of yours" if remote else ""
    return (
        f"Version {version} of '{name}' is registered and nothing of it is lost. Compare and promote it later with"
        f"{copies}:\n{step_command('promote', options, files, remote=remote)}\nor without a comparison:\n"
        f"facet promote {name} {version}"
    )
