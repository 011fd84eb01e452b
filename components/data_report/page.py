"""The HTML page about a data set, rendered from report.html.jinja."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from operator import itemgetter

import numpy as np

from components.data_report.annotators import count_votes
from components.data_report.duplicates import Duplicates, Group
from components.data_report.examples import choose_examples
from components.data_report.sizes import Numbers, Sizes, measure_sizes
from components.data_report.statistics import Statistics, largest_first
from components.shared.dataset.annotations import Face, Image
from components.shared.dataset.duplicates import NEAR
from components.shared.dataset.label_spaces import LabelSpace
from components.shared.report.plots import Axis, Plot, axis_of, heat_map, histogram
from components.shared.report.rendering import printable, render
from components.shared.report.thumbnails import Thumbnail, Thumbnails

_LABELS = 3
_GROUPS = 10
_MEMBERS = 7


def render_page(
    images: Sequence[Image],
    space: LabelSpace,
    statistics: Statistics,
    duplicates: Duplicates,
    thumbnails: Thumbnails,
    **about: object,
) -> str:
    """Return the HTML page; equal arguments give equal text. The thumbnails are made here, in the order of the page.

    Args:
        images: all images, sorted by id.
        space: the label space whose classes are counted and shown.
        statistics: of the images.
        duplicates: among the images.
        thumbnails: of the images.
        about: what else the template shows: `digest` of the annotations, `info` that the steps recorded, and `missing`,
            the names of images that are not in the archive.
    """
    ages, persons = statistics.ages, statistics.persons.images
    sizes, groups = measure_sizes(images), duplicates.groups()
    examples = choose_examples(images, statistics.classes_of, space.class_labels)
    return render(
        "data_report/report.html.jinja",
        space=space,
        statistics=statistics,
        duplicates=duplicates,
        sizes=sizes,
        votes=count_votes(images),
        ages=histogram(ages, "years of age", "faces", integer=True) if len(ages) else None,
        images_per_person=histogram(persons, "images of a person", "persons", integer=True)
        if len(set(persons.tolist())) > 1
        else None,
        quantiles=list(_quantiles(sizes)),
        size_plots=dict(_size_plots(sizes)),
        near_bits=NEAR,
        groups=groups,
        crossing={group[0].id for group in duplicates.crossing},
        group_photos=[
            (kind, group, [_member(image, statistics, thumbnails) for image in _first_of_each_split(group)[:_MEMBERS]])
            for kind, group in groups[:_GROUPS]
        ],
        example_photos=[(label, _example_photos(faces, thumbnails)) for label, faces in examples],
        failed=thumbnails.failed,
        largest_first=largest_first,
        json=partial(json.dumps, sort_keys=True, ensure_ascii=False),
        **about,
    )


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


def _first_of_each_split(group: Group) -> list[Image]:
    """Return the images in an order whose first few are of every split in the group."""
    seen: Counter[str | None] = Counter()
    turns = []
    for image in group:
        seen[image.split] += 1
        turns.append(seen[image.split])
    return [image for _, image in sorted(zip(turns, group, strict=True), key=itemgetter(0))]


def _member(image: Image, statistics: Statistics, thumbnails: Thumbnails) -> Thumbnail:
    classes = [statistics.classes_of.get(face.id) for face in image.faces]
    labels = dict.fromkeys(statistics.classes.labels[index] for index in classes if index is not None)
    named = ", ".join(printable(label, 30) for label in list(labels)[:_LABELS])
    lines = [image.split or "no split", named, printable(image.file_name, 40)]
    return Thumbnail(thumbnails.whole(image), printable(image.file_name, 120), [line for line in lines if line])


def _example_photos(faces: Sequence[tuple[Image, Face]], thumbnails: Thumbnails) -> list[Thumbnail]:
    return [
        Thumbnail(
            thumbnails.face(image, face.box),
            printable(image.file_name, 120),
            [printable(image.person or image.file_name, 26)],
        )
        for image, face in faces
    ]
