"""What `facet predict` does: models over photos, into one table, answers, a submission and annotated copies."""

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from components.shared.dataset.detections import Detections
from components.shared.dataset.predictions import Predictions
from components.shared.prediction.annotate import PhotoFaces, copy_names, faces_by_photo, write_copy
from components.shared.prediction.detect import LOWEST_SCORE
from components.shared.prediction.ensemble import Ensemble, Model, open_models
from components.shared.prediction.photo_set import PhotoSet
from components.shared.prediction.stream import finished_parts, predict_stream
from components.shared.prediction.submission import SubmissionForm, class_numbers, write_answers, write_submission
from components.shared.prediction.tables import Part, write_table
from components.shared.prediction.views import IDENTITY
from components.shared.report.rendering import counted
from serving.runtime.errors import InputError
from serving.runtime.machine import usable_cpus
from serving.runtime.ordered_map import ordered_map
from serving.runtime.output import whole_folder


@dataclass(frozen=True, slots=True)
class Job:
    """Models over photos, and how many photos and faces of their source cannot be used."""

    models: Sequence[str]
    photos: PhotoSet
    lost: int = 0


@dataclass(frozen=True, slots=True)
class Outputs:
    """What is written.

    Attributes:
        table: the table of all faces; likewise `format`, its format.
        answers: class numbers as `ImageID,ans`; None for no such file.
        submission: the rows of the form with their class numbers; None for no such file.
        copies: the folder of annotated copies; None for none.
        top_k: lines for each head on them, see `annotate.annotated`.
        table_is_answers: of a model that finds faces, which has no class number for a picture, `answers` is the table.
    """

    table: Path
    format: str = "csv"
    answers: Path | None = None
    submission: Path | None = None
    copies: Path | None = None
    top_k: int = 0
    table_is_answers: bool = False

    @property
    def paths(self) -> list[Path]:
        """All of them."""
        return [path for path in (self.table, self.answers, self.submission, self.copies) if path is not None]


@dataclass(slots=True)
class Report:
    """What was predicted with which models, and where it is.

    Attributes:
        model: name and version.
        outputs: what was written.
        photos: how many, with those that failed; likewise `faces`, of a detector those of the score that it serves.
        found: faces that a classifier has seen, of models that find faces the photos.
        failed: the others, with what the source lost.
        combined: which models and views of a classifier its answers are made of; "" for one of each.
        threshold: from which score on a detector's boxes are faces; None where it is no detector.
        rows: of the table.
        answers: path of the photo, id of the face and class number of every face, where a file needs them.
    """

    model: str
    outputs: Outputs
    photos: int = 0
    faces: int = 0
    found: int = 0
    failed: int = 0
    combined: str = ""
    threshold: float | None = None
    rows: int = 0
    answers: list[tuple[str, int, int]] = field(default_factory=list)

    def count(self, part: Part) -> None:
        """Count the rows of a part."""
        if isinstance(part, Predictions):
            self.faces += len(part.faces)
            self.found += len(part.faces)
            if self.outputs.answers or self.outputs.submission:
                self.answers += class_numbers(part)
        elif isinstance(part, Detections):
            self.faces += sum(int((image.served.score >= part.threshold).sum()) for image in part.images)
            self.found += len(part.images)
            self.threshold = part.threshold
        else:
            self.faces += sum(len(photo.faces) for photo in part.photos)
            self.found += len(part.photos)

    def lines(self) -> Iterator[str]:
        """Lines for the terminal."""
        failed = f", {self.failed} failed" if self.failed else ""
        boxes = ""
        if self.threshold is not None:
            kept = f"{counted(self.rows, 'row')} from a score of {min(LOWEST_SCORE, self.threshold):g} on"
            boxes = f" from its threshold of {self.threshold:g} on ({kept})"
        faces, photos = counted(self.faces, "face"), counted(self.photos, "photo")
        yield f"predicted      {faces}{boxes} in {photos} with {self.model}{failed}"
        if self.combined:
            yield f"combined       {self.combined}"
        outputs = self.outputs
        named = {"table": outputs.table, "answers": outputs.answers, "submission": outputs.submission}
        for label, path in (named | {"copies": outputs.copies}).items():
            if path is not None:
                yield f"{label:<15}{path}"


def predict(
    jobs: Sequence[Job],
    outputs: Outputs,
    form: SubmissionForm | None = None,
    *,
    combine: str = "mean",
    tta: Sequence[str] = (),
    workers: int = 0,
    max_failed: int = 0,
) -> Report:
    """Run each job and write what it gives into one table; every file appears whole or not at all.

    What is finished stays beside the table until it is written, so that a prediction that was stopped goes on there.
    Several jobs are the folds of a cross-validation, each with the photos that it has not seen: the table gives all of
    them one version.

    Args:
        jobs: at least one; no photo is in two of them.
        outputs: what to write.
        form: the rows of the submission; also the rows of the answers, where it is given.
        combine: how several models of a job are combined.
        tta: views of a face besides itself.
        workers: threads; 0 for one per CPU.
        max_failed: how many faces may fail, of models that find their own how many photos; what a source has lost
            counts too.

    Raises:
        InputError: a model or an option cannot be used, there is no face, too many faces failed, or a picture of the
            form has no answer.
        StorageError: an address or an output cannot be used.
    """
    models = [open_models(job.models, combine=combine, tta=tta) for job in jobs]
    classifies = isinstance(models[0], Ensemble)
    if not classifies:
        if outputs.submission:
            raise InputError("--submission: the model finds faces; only classifiers have a class for each picture")
        table = outputs.answers if outputs.table_is_answers and outputs.answers else outputs.table
        outputs = replace(outputs, table=table, answers=None)
    elif not any(job.photos.faces() for job in jobs):
        raise InputError("there is no face to classify in the source; name a composite, which finds the faces itself")
    version = models[0].version if len(models) == 1 else _version(models)
    report = Report(f"{models[0].name} {version}", outputs, failed=sum(job.lost for job in jobs))
    report.combined = _combined(models, combine)
    threads = workers or usable_cpus()
    with finished_parts(outputs.table) as parts, contextlib.ExitStack() as stack:
        copies = None
        if outputs.copies:
            names = copy_names(photo.path for job in jobs for photo in job.photos.photos)
            copies = _Copies(stack.enter_context(whole_folder(outputs.copies)), names, outputs.top_k, threads)

        def rows() -> Iterator[Part]:
            for number, (model, job) in enumerate(zip(models, jobs, strict=True)):
                own = parts / str(number)
                own.mkdir(exist_ok=True)
                before = report.found
                stream = predict_stream(
                    model, job.photos, workers=threads, max_failed=max_failed, parts=own, lost=report.failed
                )
                for part in stream:
                    if copies is not None:
                        copies.draw(job.photos, part)
                    report.count(part)
                    yield replace(part, version=version)
                expected = job.photos.faces() if classifies else len(job.photos.photos)
                report.failed += expected - (report.found - before)
                report.photos += len(job.photos.photos)

        report.rows = write_table(rows(), outputs.table, outputs.format)
        _write_answers(report, form)
    return report


def _combined(models: Sequence[Model], rule: str) -> str:
    """Return which models and views the answers are made of, and whose the version is; "" for one of each."""
    first = models[0]
    if len(models) > 1:
        views = f", seen as {_views(first)}" if isinstance(first, Ensemble) and len(first.views) > 1 else ""
        return f"{len(models)} models, each for the photos that it has not seen{views}; the version is that of all"
    if not isinstance(first, Ensemble) or (len(first.members) == 1 and len(first.views) == 1):
        return ""
    members = ", ".join(f"{member.name} {member.version}" for member in first.members)
    return (
        f"{counted(len(first.members), 'model')} ({members}), seen as {_views(first)}, by {rule}; the version is that "
        "of the ensemble"
    )


def _views(model: Ensemble) -> str:
    return ", ".join("itself" if view == IDENTITY else str(view) for view in model.views)


def _version(models: Sequence[Model]) -> str:
    return hashlib.sha256("".join(model.sha256 for model in models).encode()).hexdigest()[:12]


def _write_answers(report: Report, form: SubmissionForm | None) -> None:
    outputs = report.outputs
    if form is not None:
        numbers = {path: number for path, _, number in report.answers}
        for path in (outputs.submission, outputs.answers):
            if path is not None:
                write_submission(form, numbers, path)
    elif outputs.answers is not None:
        write_answers(report.answers, outputs.answers)


@dataclass(frozen=True, slots=True)
class _Copies:
    """Annotated copies of photos: their folder, the name of each, and what is drawn."""

    folder: Path
    names: Mapping[str, PurePosixPath]
    top_k: int
    workers: int

    def draw(self, photos: PhotoSet, part: Part) -> None:
        """Draw the photos of a part, several at once."""

        def one(photo: PhotoFaces) -> None:
            data = photos.pictures.read(photo.path, photo.sha256)
            write_copy(data, photo.faces, self.folder / self.names[photo.path], self.top_k)

        for _ in ordered_map(one, faces_by_photo(part), workers=self.workers, ahead=2 * self.workers):
            pass
