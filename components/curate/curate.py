"""Operations on annotations: sample, correct, merge, clean. No image is read."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.curate.corrections import CorrectionsOptions, corrections
from components.curate.drop import DropOptions, drop
from components.curate.drop_ages import DropAgesOptions, drop_ages
from components.curate.merge import MergeOptions, merge
from components.curate.operation import Options, Outcome
from components.curate.sample import SampleOptions, sample
from components.curate.sync import SyncOptions, sync
from components.shared.dataset.annotations import Annotations, Image, count_images, read_annotations, write_annotations
from components.shared.dataset.info import CurationStep, Snapshot
from components.shared.dataset.label_spaces import LABEL_SPACES, LabelSpace, label_space
from components.shared.dataset.persons import crossing_persons
from components.shared.dataset.tally import Tally
from components.shared.options import parse_options
from serving.runtime.errors import InputError, NotFoundError
from serving.runtime.output import check_output
from serving.runtime.validation import known

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation on annotations: its options and its function."""

    options: type[Options]
    run: Callable[[Sequence[Image], Any], Outcome]


OPERATIONS = {
    "sample": Operation(SampleOptions, sample),
    "corrections": Operation(CorrectionsOptions, corrections),
    "drop_ages": Operation(DropAgesOptions, drop_ages),
    "merge": Operation(MergeOptions, merge),
    "sync": Operation(SyncOptions, sync),
    "drop": Operation(DropOptions, drop),
}


@dataclass(frozen=True, slots=True)
class CurateReport:
    """The result.

    Attributes:
        images: images, and likewise `faces` and `persons` (0 when no image has a person).
        dropped: dropped images by reason.
        operations: what every operation did.
    """

    images: int
    faces: int
    persons: int
    dropped: dict[str, int]
    operations: list[CurationStep]


def curate(annotations: Path, output: Path, operations: Sequence[Mapping[str, Any]]) -> CurateReport:
    """Apply operations in their order and write the resulting annotations, in the order of the image ids.

    `info.curation` gets one entry per operation, and dropped images are counted by reason in `info.dropped`. When a
    person ends up in two splits, or annotations that leak were merged in, `info.leaks` is set.

    Args:
        annotations: the COCO file to read.
        output: the COCO file to write.
        operations: mappings with one key, the name of one of OPERATIONS, to its options.

    Raises:
        InputError: an unknown operation or option, no image in the file or left of it, or an output that is also an
            input.
        StorageError: a table, list or folder cannot be reached.
    """
    chosen = [_parse(item, number) for number, item in enumerate(operations, start=1)]
    check_output(output, annotations, *(path for _, options in chosen for path in options.local_paths()))
    data = read_annotations(annotations)
    images: Sequence[Image] = sorted(data.images, key=lambda image: image.id)
    if not images:
        raise InputError(f"{annotations}: contains no images, so there is nothing to curate")
    spaces = [name for _, options in chosen if (name := getattr(options, "label_space", None))]
    steps: list[CurationStep] = []
    dropped = Tally(dict(data.info.dropped), dict(data.info.dropped_examples))
    dropped_here: Counter[str] = Counter()
    leaks, keypoint_names = data.info.leaks, data.keypoint_names
    before = _snapshot(images, spaces)
    for name, options in chosen:
        outcome = _run(name, images, options)
        images = sorted(outcome.images, key=lambda image: image.id)
        if not images:
            raise InputError(f"operation '{name}' leaves no image of {annotations}: {outcome.counts}")
        after = _snapshot(images, spaces)
        steps.append(_step(name, options, outcome, before, after))
        before = after
        dropped.update(outcome.dropped)
        dropped_here.update(outcome.dropped.counts)
        leaks = leaks or outcome.leaks
        keypoint_names = _same_keypoints(keypoint_names, outcome.keypoint_names)
        _log.info("%s: %s; %d images left", name, outcome.counts or "nothing to do", len(images))
    info = data.info.changed(
        leaks=_warn_of_crossing(output, images) or leaks,
        curation=(*data.info.curation, *steps),
        counts=before.model_dump(exclude={"class_counts"}),
        persons_known=before.persons > 0,
        **({"dropped": dropped.counts, "dropped_examples": dropped.examples} if dropped_here else {}),
    )
    write_annotations(Annotations(tuple(images), info, keypoint_names), output)
    return CurateReport(
        images=before.images, faces=before.faces, persons=before.persons, dropped=dict(dropped_here), operations=steps
    )


def _parse(item: Any, number: int) -> tuple[str, Options]:
    names = ", ".join(OPERATIONS)
    if not isinstance(item, Mapping) or len(item) != 1:
        raise InputError(
            f"operation {number}: expected a mapping of one name to its options, got {item!r}. Known: {names}"
        )
    ((name, values),) = item.items()
    if name not in OPERATIONS:
        raise InputError(f"operation {number}: '{name}' is unknown{known(name, OPERATIONS)}")
    return name, parse_options(OPERATIONS[name].options, values, f"options of operation '{name}'")


def _run(name: str, images: Sequence[Image], options: Options) -> Outcome:
    try:
        return OPERATIONS[name].run(images, options)
    except InputError as error:
        kind = NotFoundError if isinstance(error, NotFoundError) else InputError
        raise kind(f"operation '{name}': {error}") from error


def _warn_of_crossing(output: Path, images: Sequence[Image]) -> bool:
    """Tell whether persons are in more than one split."""
    crossing = crossing_persons(images)
    if crossing:
        _log.warning(
            "%s: %d persons are in more than one split, such as %s", output, len(crossing), ", ".join(crossing[:5])
        )
    return bool(crossing)


def _snapshot(images: Sequence[Image], spaces: Sequence[str]) -> Snapshot:
    return Snapshot(**count_images(images).record(), class_counts=class_counts(images, spaces))


def _step(name: str, options: Options, outcome: Outcome, before: Snapshot, after: Snapshot) -> CurationStep:
    return CurationStep(
        operation=name,
        options=options.recorded(),
        counts=outcome.counts,
        examples={**outcome.notes.examples, **outcome.dropped.examples},
        before=before,
        after=after,
    )


def _same_keypoints(mine: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    if mine and other and mine != other:
        raise InputError(f"merge: the keypoints are {', '.join(mine)} here and {', '.join(other)} there")
    return mine or other


def class_counts(images: Iterable[Image], extra: Iterable[str] = ()) -> dict[str, dict[str, int]]:
    """Count faces per class in every label space that has any: the built-in ones and those named in `extra`.

    An invalid value of an attribute counts as no label.
    """
    spaces: list[LabelSpace] = []
    for name in (*LABEL_SPACES, *extra):
        space = label_space(name)
        if all(space.class_labels != other.class_labels or space.attributes != other.attributes for other in spaces):
            spaces.append(space)
    read = list(dict.fromkeys(attribute for space in spaces for attribute in space.attributes))
    kinds: Counter[tuple[str | None, ...]] = Counter()
    for image in images:
        for face in image.faces:
            stated = (face.attributes.get(attribute) for attribute in read)
            kinds[tuple(None if value is None else str(value) for value in stated)] += 1
    counted = {}
    for space in spaces:
        counts = [0] * len(space.class_labels)
        for values, number in kinds.items():
            try:
                label = space.class_of(dict(zip(read, values, strict=True)))
            except InputError:
                continue
            if label is not None:
                counts[label] += number
        if any(counts):
            counted[space.name] = dict(zip(space.class_labels, counts, strict=True))
    return counted
