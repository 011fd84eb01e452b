"""Annotations in, annotations out: choosing and relabeling images without touching a pixel."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.curate.class_counts import class_counts
from components.curate.corrections import CorrectionsOptions, corrections
from components.curate.drop import DropOptions, drop
from components.curate.drop_ages import DropAgesOptions, drop_ages
from components.curate.merge import MergeOptions, merge
from components.curate.options import Options
from components.curate.outcome import Outcome
from components.curate.sample import SampleOptions, sample
from components.curate.sync import SyncOptions, sync
from components.shared.dataset.annotations import Annotations, Image, read_annotations, write_annotations
from components.shared.dataset.persons import crossing_persons
from components.shared.dataset.tally import MAX_EXAMPLES
from components.shared.options import parse_options
from serving.runtime.errors import InputError, NotFoundError

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Operation:
    """What can be done to annotations: the options and the function that does it."""

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
    """What came out.

    Attributes:
        images: images, and likewise `faces` and `persons` (0 when nobody is known).
        dropped: images that are gone, by reason.
        operations: per operation its name, options, counts and examples, and the data before and after it.
        class_counts_before: faces per label space and class before the first operation.
        class_counts_after: the same after the last one.
    """

    images: int
    faces: int
    persons: int
    dropped: dict[str, int]
    operations: list[dict[str, Any]]
    class_counts_before: dict[str, dict[str, int]]
    class_counts_after: dict[str, dict[str, int]]


def curate(annotations: Path, output: Path, operations: Sequence[Mapping[str, Any]]) -> CurateReport:
    """Apply operations in their order and write the annotations that come out, in the order of the image ids.

    `info` says what was done: `curation` has one entry per operation with its options, counts, examples and the data
    before and after; images that are gone are counted by reason in `dropped`, with examples. When a person ends up in
    two splits, or annotations that leak were merged in, `leaks` is set.

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
    _refuse_overlap(output, annotations, [options for _, options in chosen])
    data = read_annotations(annotations)
    images: Sequence[Image] = sorted(data.images, key=lambda image: image.id)
    if not images:
        raise InputError(f"{annotations}: there is no image in it, so there is nothing to curate")
    info = dict(data.info)
    named = [name for _, options in chosen if (name := getattr(options, "label_space", None))]
    before = first = _state(images, named)
    entries: list[dict[str, Any]] = []
    dropped: dict[str, int] = {}
    for name, options in chosen:
        try:
            outcome = OPERATIONS[name].run(images, options)
        except InputError as error:
            raise (NotFoundError if isinstance(error, NotFoundError) else InputError)(
                f"operation '{name}': {error}"
            ) from error
        images = sorted(outcome.images, key=lambda image: image.id)
        after = _state(images, named)
        entries.append(_entry(name, options, outcome, before, after))
        before = after
        for reason, count in outcome.dropped.counts.items():
            dropped[reason] = dropped.get(reason, 0) + count
        _count_dropped(info, outcome)
        info["leaks"] = bool(info.get("leaks", False)) or outcome.leaks
        _log.info("%s: %s; %d images left", name, entries[-1]["counts"] or "nothing to do", len(images))
        if not images:
            raise InputError(f"operation '{name}' leaves no image of {annotations}: {entries[-1]['counts']}")
    crossing = crossing_persons(images)
    if crossing:
        _log.warning(
            "%s: %d persons are in more than one split, such as %s", output, len(crossing), ", ".join(crossing[:5])
        )
    info["leaks"] = bool(info.get("leaks", False)) or bool(crossing)
    info["curation"] = [*info.get("curation", []), *entries]
    info["counts"] = {name: count for name, count in before.items() if name != "class_counts"}
    info["persons_known"] = before["persons"] > 0
    write_annotations(Annotations(tuple(images), info), output)
    return CurateReport(
        images=before["images"],
        faces=before["faces"],
        persons=before["persons"],
        dropped=dropped,
        operations=entries,
        class_counts_before=first["class_counts"],
        class_counts_after=before["class_counts"],
    )


def _parse(item: Any, number: int) -> tuple[str, Options]:
    known = ", ".join(OPERATIONS)
    if not isinstance(item, Mapping) or len(item) != 1:
        raise InputError(
            f"operation {number}: expected a mapping of one name to its options, got {item!r}. Known: {known}"
        )
    ((name, values),) = item.items()
    if name not in OPERATIONS:
        raise InputError(f"operation {number}: '{name}' is unknown; known: {known}")
    return name, parse_options(OPERATIONS[name].options, values, f"options of operation '{name}'")


def _refuse_overlap(output: Path, annotations: Path, chosen: Sequence[Options]) -> None:
    target = output.resolve()
    if target == annotations.resolve():
        raise InputError(f"{output}: the output is the input; name another file")
    for place in (place for options in chosen for place in options.local_places()):
        if target.is_relative_to(place.resolve()):
            raise InputError(f"{output}: the output is, or lies in, the input {place}; name another file")


def _state(images: Sequence[Image], named: Sequence[str]) -> dict[str, Any]:
    return {
        "images": len(images),
        "faces": sum(len(image.faces) for image in images),
        "persons": len({image.person for image in images if image.person is not None}),
        "images_without_person": sum(image.person is None for image in images),
        "class_counts": class_counts(images, named),
    }


def _entry(
    name: str, options: Options, outcome: Outcome, before: Mapping[str, Any], after: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "operation": name,
        "options": options.recorded(),
        "counts": {**outcome.notes.counts, **outcome.dropped.counts},
        "examples": {**outcome.notes.examples, **outcome.dropped.examples},
        "before": dict(before),
        "after": dict(after),
    }


def _count_dropped(info: dict[str, Any], outcome: Outcome) -> None:
    """Add what was dropped to the counts and examples of earlier steps."""
    counts, examples = dict(info.get("dropped", {})), dict(info.get("dropped_examples", {}))
    for reason, count in outcome.dropped.counts.items():
        counts[reason] = counts.get(reason, 0) + count
        examples[reason] = [*examples.get(reason, []), *outcome.dropped.examples[reason]][:MAX_EXAMPLES]
    if outcome.dropped.counts:
        info.update(dropped=counts, dropped_examples=examples)
