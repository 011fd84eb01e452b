"""The page about a data set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from components.data_report.annotators import Votes
from components.data_report.copies import Copies
from components.data_report.examples import ClassExamples
from components.data_report.facts import Facts
from components.data_report.pictures import copies_body, examples_body
from components.data_report.sizes import Sizes
from components.data_report.tables import (
    attribute_table,
    classes_table,
    curation_table,
    files_table,
    left_out_table,
    persons_body,
    soft,
    splits_table,
    tally_of,
    votes_body,
)
from components.data_report.thumbnails import Thumbnails
from components.shared.dataset.label_spaces import LabelSpace
from components.shared.report.html import definitions, notice, page, section, shown, table, tile
from components.shared.report.plots import Axis, heat_map, histogram, spanning

_NAMED = 5
_ATTRIBUTES = 20


@dataclass(frozen=True)
class Subject:
    """What the page is about: the label space, the digest of the annotations, their info, names not in the archive."""

    space: LabelSpace
    digest: str
    info: Mapping[str, Any]
    missing: tuple[str, ...]


def render(
    subject: Subject,
    facts: Facts,
    sizes: Sizes,
    copies: Copies,
    votes: Votes | None,
    examples: Sequence[ClassExamples],
    thumbnails: Thumbnails,
) -> str:
    """The page as text; equal arguments give equal text. Thumbnails are made while it is written."""
    source = shown(subject.info.get("source", ""), 120)
    title = f"Data report: {source}" if source else "Data report"
    counted = [f"{facts.images:,} images", f"{facts.faces:,} faces"]
    counted += [f"{len(facts.persons.names):,} persons"] if facts.persons.names else []
    parts = [f'<h1>{escape(title)}</h1>\n<p class="soft">{escape(" · ".join(counted))}</p>']
    parts += _notices(subject, facts, copies)
    parts.append(_tiles(subject, facts, copies))
    space = shown(subject.space.name, 60)
    parts.append(_columns(("About", _about(subject, facts)), ("Splits", splits_table(facts))))
    parts.append(section(f"Classes of {space}", classes_table(facts.classes, facts.parts, space)))
    parts.append(section("Attributes", _attributes(facts)))
    parts.append(_columns(("Persons", persons_body(facts)), ("Files", files_table(facts))))
    parts.append(section("Left out and noted", left_out_table(subject.info)))
    curated = curation_table(subject.info)
    parts += [section("Curated", curated)] if curated else []
    parts.append(section("Sizes", _sizes(sizes)))
    parts.append(section("The same picture twice", copies_body(copies, facts, thumbnails)))
    if votes is not None:
        parts.append(section("Annotators", votes_body(votes)))
    parts.append(section("Examples", examples_body(examples, thumbnails)))
    return page(title, "\n".join(parts))


def _notices(subject: Subject, facts: Facts, copies: Copies) -> list[str]:
    notices = []
    crossing = facts.persons.crossing
    if crossing:
        named = ", ".join(f"{shown(person, 40)} ({' and '.join(splits)})" for person, splits in crossing[:_NAMED])
        notices.append(
            notice(
                "Persons cross splits.",
                f"{_count(len(crossing), 'person is', 'persons are')} in more than one split, such as {named}. "
                "Scores on val and test will be too good: split again, by person.",
            )
        )
    if copies.crossing:
        named = ", ".join(shown(group[0].file_name, 60) for group in copies.crossing[:_NAMED])
        notices.append(
            notice(
                "The same picture is in several splits.",
                f"{_count(len(copies.crossing), 'group', 'groups')} of equal or nearly equal pictures "
                f"{'has' if len(copies.crossing) == 1 else 'have'} members in more than one split, such as {named}. "
                "What was trained on is tested on: drop duplicates with curate, then split again.",
            )
        )
    if subject.info.get("leaks"):
        notices.append(
            notice("This data leaks.", "A step before this one says that its splits do not keep persons apart.")
        )
    if subject.missing:
        named = ", ".join(shown(name, 60) for name in subject.missing[:_NAMED])
        notices.append(
            notice(
                "Pictures are missing.",
                f"{_count(len(subject.missing), 'image', 'images')} of the annotations "
                f"{'is' if len(subject.missing) == 1 else 'are'} not in the archive, such as {named}.",
            )
        )
    return notices


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def _tiles(subject: Subject, facts: Facts, copies: Copies) -> str:
    totals = facts.classes.totals
    present = totals[totals > 0]
    persons = facts.persons
    dropped = tally_of(subject.info, "dropped")
    twice = len(copies.exact) + len(copies.near)
    imbalance = f"{present.max():,} to {present.min():,} faces" if len(present) else "no face has a class"
    several = f"{facts.several_faces:,} with several faces" if facts.several_faces else ""
    tiles = [
        tile("Images", f"{facts.images:,}", several),
        tile("Faces", f"{facts.faces:,}", f"{int(totals.sum()):,} with a class"),
        tile("Persons", f"{len(persons.names):,}" if persons.names else "unknown", _per_person(facts)),
        tile("Classes", f"{len(present)}", f"of {len(totals)} have faces"),
        tile("Imbalance", f"{facts.classes.imbalance:.1f} : 1" if len(present) else "–", imbalance),
        tile("Duplicates", f"{twice:,}", *_duplicate_note(copies, twice)),
        tile("Dropped", f"{sum(dropped.values()):,}", shown(next(iter(dropped), ""), 30)),
    ]
    return f'<div class="tiles">{"".join(tiles)}</div>'


def _per_person(facts: Facts) -> str:
    return f"{np.mean(facts.persons.images):.1f} images each" if facts.persons.names else ""


def _duplicate_note(copies: Copies, twice: int) -> tuple[str, str]:
    if copies.crossing:
        return f"{len(copies.crossing):,} across splits", "bad"
    return ("groups, none across splits", "soft") if twice else ("groups", "soft")


def _about(subject: Subject, facts: Facts) -> str:
    info, space = subject.info, subject.space
    split = info.get("split")
    seed = split.get("seed") if isinstance(split, Mapping) else None
    return definitions(
        [
            ("Source", shown(info.get("source", ""), 120)),
            ("Format", shown(info.get("format", ""), 40)),
            ("Source digest", shown(info.get("source_digest", ""), 20)),
            ("Annotations sha256", f"{subject.digest[:12]}…"),
            ("Label space", f"{shown(space.name, 60)} ({len(space.class_labels)} classes)"),
            (
                "Split",
                f"by {shown(split.get('label_space', '?'), 60)}, seed {shown(seed, 20)}"
                if split and seed is not None
                else "",
            ),
        ]
    )


def _columns(*sections: tuple[str, str]) -> str:
    return f'<div class="columns">{"".join(section(title, body) for title, body in sections)}</div>'


def _attributes(facts: Facts) -> str:
    if not facts.attributes:
        return soft("No face has an attribute.")
    tables = [f"<div>{attribute_table(attribute, facts.parts)}</div>" for attribute in facts.attributes[:_ATTRIBUTES]]
    if len(facts.ages):
        plot = histogram(facts.ages, "years of age", "faces", whole=True)
        tables.append(f"<div><h3>ages</h3>{plot}</div>")
    left_out = len(facts.attributes) - _ATTRIBUTES
    body = f'<div class="columns">{"".join(tables)}</div>'
    return body + (soft(f"And {left_out:,} attributes more.") if left_out > 0 else "")


def _sizes(sizes: Sizes) -> str:
    body = _plain_sizes(sizes)
    plots = []
    if len(sizes.common) > 1:
        across = spanning("width of the image in pixels", sizes.images[:, 0], log=True)
        down = spanning("height in pixels", sizes.images[:, 1], log=True)
        plots.append(("Images", heat_map(sizes.images[:, 0], sizes.images[:, 1], across, down, "images")))
    if len(sizes.boxes):
        across = spanning("width of the box in pixels", sizes.boxes[:, 0], log=True)
        down = spanning("height in pixels", sizes.boxes[:, 1], log=True)
        plots.append(("Boxes", heat_map(sizes.boxes[:, 0], sizes.boxes[:, 1], across, down, "boxes")))
        percent = 100 * np.minimum(sizes.shares, 1.0)
        plots.append(("How much of its image a box covers", histogram(percent, "percent of the image", "boxes")))
        sides = (Axis("middle of the box, share of the width", 0, 1), Axis("share of the height", 0, 1))
        place = heat_map(sizes.centers[:, 0], sizes.centers[:, 1], *sides, "boxes", from_top=True)
        plots.append(("Where the boxes lie", place))
    drawn = "".join(f"<div><h3>{escape(title)}</h3>{plot}</div>" for title, plot in plots)
    return body + f'<div class="columns">{drawn}</div>'


def _plain_sizes(sizes: Sizes) -> str:
    """The sizes in figures, and what has no box."""
    lines = []
    width, height = sizes.common[0][0]
    if len(sizes.common) == 1:
        lines.append(("All images", f"{width} × {height} pixels"))
    else:
        lines.append(("Most frequent", ", ".join(f"{w} × {h} ({count:,})" for (w, h), count in sizes.common)))
    faces = len(sizes.boxes) + sizes.faces_without
    if not len(sizes.boxes):
        lines.append(("Boxes", "no face has one: the whole image counts as the face"))
    else:
        lines.append(("Faces without a box", f"{sizes.faces_without:,} of {faces:,}"))
        named = ", ".join(shown(name, 60) for name in sizes.examples)
        without = f"{sizes.images_without:,}" + (f", such as {named}" if named else "")
        lines.append(("Images without a box", without))
        smallest = ", ".join(f"{shown(name, 60)} ({w:.0f} × {h:.0f})" for name, w, h in sizes.smallest)
        lines.append(("Smallest boxes", smallest))
    rows = [
        _quantiles("image width", sizes.images[:, 0]),
        _quantiles("image height", sizes.images[:, 1]),
    ]
    if len(sizes.boxes):
        rows += [_quantiles("box width", sizes.boxes[:, 0]), _quantiles("box height", sizes.boxes[:, 1])]
        rows.append(_quantiles("box area, % of the image", 100 * sizes.shares))
    return definitions(lines) + "<br>" + table(("pixels", "smallest", "5 %", "median", "95 %", "largest"), rows)


def _quantiles(name: str, values: np.typing.NDArray[np.float64]) -> tuple[str, ...]:
    found = np.quantile(values, (0, 0.05, 0.5, 0.95, 1)).tolist()
    return (name, *(f"{value:,.0f}" if value >= 100 else f"{value:.3g}" for value in found))
