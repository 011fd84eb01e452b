"""The HTML page about a data set, rendered from report.html.jinja."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from components.data_report.annotators import Votes
from components.data_report.duplicates import Duplicates, Group
from components.data_report.examples import ClassExamples
from components.data_report.sizes import Numbers, Sizes
from components.data_report.statistics import Statistics
from components.data_report.thumbnails import Thumbnails
from components.shared.dataset.annotations import Image
from components.shared.dataset.duplicates import NEAR
from components.shared.dataset.info import CurationStep, DatasetInfo
from components.shared.dataset.label_spaces import LabelSpace
from components.shared.report.plots import Axis, Plot, axis_of, heat_map, histogram
from components.shared.report.rendering import printable, render

_EXAMPLES = 3
_GROUPS = 10
_MEMBERS = 7


@dataclass(frozen=True)
class DataSet:
    """Everything the page is about.

    Attributes:
        space: the label space whose classes are counted and shown.
        digest: the digest of the annotations.
        info: what the steps recorded.
        missing: names of images that are not in the archive.
        examples: the faces to show of every class.
    """

    space: LabelSpace
    digest: str
    info: DatasetInfo
    missing: tuple[str, ...]
    statistics: Statistics
    sizes: Sizes
    duplicates: Duplicates
    votes: Votes | None
    examples: Sequence[ClassExamples]


@dataclass(frozen=True)
class Photo:
    """A thumbnail: its data URI, None when it cannot be shown, the name of the image, and the lines below it."""

    uri: str | None
    name: str
    caption: list[str]


@dataclass(frozen=True)
class DuplicateGroup:
    """Photos of the first images of a group of duplicates, of its kind and size."""

    kind: str
    images: int
    crosses_splits: bool
    photos: list[Photo]


@dataclass(frozen=True)
class Remark:
    """What a step dropped, skipped or noted: the reason, names of some images, and how many there are."""

    kind: str
    reason: str
    examples: list[str]
    count: int


@dataclass(frozen=True)
class Operation:
    """An operation of `curate`: its options as JSON, what it did, and the number of images before and after it."""

    name: str
    options: str
    effects: list[Remark]
    images: tuple[int, int] | None


def render_page(data: DataSet, thumbnails: Thumbnails) -> str:
    """Return the HTML page; equal arguments give equal text. The thumbnails are made here, in the order of the page."""
    ages = data.statistics.ages
    persons = data.statistics.persons.images
    groups = data.duplicates.groups()
    return render(
        "data_report/report.html.jinja",
        data=data,
        remarks=list(_remarks(data.info)),
        curation=[_operation(step) for step in data.info.curation],
        ages=histogram(ages, "years of age", "faces", integer=True) if len(ages) else None,
        images_per_person=histogram(persons, "images of a person", "persons", integer=True)
        if len(set(persons.tolist())) > 1
        else None,
        quantiles=list(_quantiles(data.sizes)),
        size_plots=dict(_size_plots(data.sizes)),
        near_bits=NEAR,
        groups=groups,
        group_photos=[_duplicate_group(kind, group, data, thumbnails) for kind, group in groups[:_GROUPS]],
        example_photos=[(group.label, _example_photos(group, thumbnails)) for group in data.examples],
        failed=thumbnails.failed,
        largest_first=largest_first,
    )


def largest_first(counts: Mapping[str, int]) -> dict[str, int]:
    """Return counts by reason, the largest first."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _remarks(info: DatasetInfo) -> Iterator[Remark]:
    tallies = {
        "dropped": (info.dropped, info.dropped_examples),
        "skipped": (info.skipped, info.skipped_examples),
        "noted": (info.notes, info.notes_examples),
    }
    for kind, (counts, examples) in tallies.items():
        for reason, count in largest_first(counts).items():
            yield Remark(kind, reason, examples.get(reason, [])[:_EXAMPLES], count)


def _operation(step: CurationStep) -> Operation:
    effects = [
        Remark("", reason, step.examples.get(reason, [])[:_EXAMPLES], count)
        for reason, count in list(largest_first(step.counts).items())[:_EXAMPLES]
    ]
    options = json.dumps(step.options, sort_keys=True, ensure_ascii=False)
    images = (step.before.images, step.after.images) if step.before and step.after else None
    return Operation(step.operation, options, effects, images)


def _quantiles(sizes: Sizes) -> Iterator[tuple[str, list[str]]]:
    """Yield a name and the smallest, 5 %, median, 95 % and largest of its values."""
    columns: dict[str, Numbers] = {"image width": sizes.images[:, 0], "image height": sizes.images[:, 1]}
    if len(sizes.boxes):
        columns |= {"box width": sizes.boxes[:, 0], "box height": sizes.boxes[:, 1]}
        columns["box area, % of the image"] = 100 * sizes.areas
    for name, values in columns.items():
        quantiles = np.quantile(values, (0, 0.05, 0.5, 0.95, 1)).tolist()
        yield name, [f"{value:,.0f}" if value >= 100 else f"{value:.3g}" for value in quantiles]


def _size_plots(sizes: Sizes) -> Iterator[tuple[str, Plot]]:
    if len(sizes.common) > 1:
        yield "Images", _size_plot(sizes.images, "image")
    if len(sizes.boxes):
        yield "Boxes", _size_plot(sizes.boxes, "box")
        percent = 100 * np.minimum(sizes.areas, 1.0)
        yield "Area of the box", histogram(percent, "percent of the image", "boxes")
        axes = Axis("center of the box, share of the width", 0, 1), Axis("share of the height", 0, 1)
        yield "Position of the boxes", heat_map(sizes.centers, *axes, "boxes", from_top=True)


def _size_plot(sizes: Numbers, noun: str) -> Plot:
    across = axis_of(f"width of the {noun} in pixels", sizes[:, 0], log=True)
    up = axis_of("height in pixels", sizes[:, 1], log=True)
    return heat_map(sizes, across, up, "boxes" if noun == "box" else "images")


def _duplicate_group(kind: str, group: Group, data: DataSet, thumbnails: Thumbnails) -> DuplicateGroup:
    crosses = group[0].id in {crossing[0].id for crossing in data.duplicates.crossing}
    members = _first_of_each_split(group)[:_MEMBERS]
    return DuplicateGroup(kind, len(group), crosses, [_member(image, data.statistics, thumbnails) for image in members])


def _first_of_each_split(group: Group) -> list[Image]:
    """Return the images in an order whose first few are of every split in the group."""
    seen: dict[str | None, int] = {}
    turns = []
    for image in group:
        seen[image.split] = seen.get(image.split, 0) + 1
        turns.append(seen[image.split])
    return [group[index] for index in sorted(range(len(group)), key=lambda index: (turns[index], index))]


def _member(image: Image, statistics: Statistics, thumbnails: Thumbnails) -> Photo:
    classes = [statistics.classes_of.get(face.id) for face in image.faces]
    labels = dict.fromkeys(statistics.classes.labels[index] for index in classes if index is not None)
    named = ", ".join(printable(label, 30) for label in list(labels)[:_EXAMPLES])
    lines = [image.split or "no split", named, printable(image.file_name, 40)]
    return Photo(thumbnails.whole(image), printable(image.file_name, 120), [line for line in lines if line])


def _example_photos(group: ClassExamples, thumbnails: Thumbnails) -> list[Photo]:
    return [
        Photo(
            thumbnails.face(image, face.box),
            printable(image.file_name, 120),
            [printable(image.person or image.file_name, 26)],
        )
        for image, face in group.faces
    ]
