"""The parts of the page that show pictures: groups of copies, and examples of every class."""

from collections.abc import Sequence
from html import escape

from components.data_report.copies import Copies, Group
from components.data_report.examples import ClassExamples
from components.data_report.facts import Facts
from components.data_report.tables import NO_SPLIT, soft
from components.data_report.thumbnails import Thumbnails
from components.shared.dataset.annotations import Image
from components.shared.dataset.duplicates import NEAR
from components.shared.report.html import definitions, shot, shots, shown

_GROUPS = 10
_MEMBERS = 7
_FAILURES = 5


def copies_body(copies: Copies, facts: Facts, thumbnails: Thumbnails) -> str:
    """Counts of exact and near duplicates, and some groups as pictures."""
    groups = copies.to_show()
    lines = [
        ("Equal files", _groups(copies.exact)),
        ("Look alike", f"{_groups(copies.near)}; fingerprints differ in at most {NEAR} of 128 bits"),
        ("Largest group", f"{max(len(group) for _, group in groups):,} images" if groups else ""),
        ("Nearly plain pictures", f"{len(copies.flat):,}, not compared" if copies.flat else ""),
        ("Without a digest", f"{copies.unmarked:,} images, not compared" if copies.unmarked else ""),
    ]
    body = definitions(lines)
    if copies.contradicting:
        named = ", ".join(shown(group[0].file_name, 60) for group in copies.contradicting[:_FAILURES])
        body += (
            f'<p class="bad">{len(copies.contradicting):,} groups of equal files have different classes, such as '
            f"{escape(named)}: at most one of them is right.</p>"
        )
    crossing = {group[0].id for group in copies.crossing}
    drawn = ""
    for kind, group in groups[:_GROUPS]:
        title = "Equal files" if kind == "exact" else "Look alike"
        across = ' <span class="bad">across splits</span>' if group[0].id in crossing else ""
        members = shots(_member(image, facts, thumbnails) for image in _first_of_each_split(group)[:_MEMBERS])
        drawn += f"<div><h3>{title}, {len(group):,} images{across}</h3>{members}</div>"
    body += f'<br><div class="groups">{drawn}</div>' if drawn else ""
    if len(groups) > _GROUPS:
        body += soft(f"And {len(groups) - _GROUPS:,} more.")
    return body


def _groups(groups: Sequence[Group]) -> str:
    if not groups:
        return "none"
    images = sum(map(len, groups))
    return f"{len(groups):,} {'group' if len(groups) == 1 else 'groups'} of {images:,} images"


def _first_of_each_split(group: Group) -> list[Image]:
    """Return the members so that the first few show every split of the group."""
    seen: dict[str | None, int] = {}
    turns = []
    for image in group:
        seen[image.split] = seen.get(image.split, 0) + 1
        turns.append(seen[image.split])
    return [group[at] for at in sorted(range(len(group)), key=lambda at: (turns[at], at))]


def _member(image: Image, facts: Facts, thumbnails: Thumbnails) -> str:
    classes = [facts.classes_of.get(face.id) for face in image.faces]
    labels = dict.fromkeys(facts.classes.labels[at] for at in classes if at is not None)
    lines = [
        image.split or NO_SPLIT,
        ", ".join(shown(label, 30) for label in list(labels)[:3]),
        shown(image.file_name, 40),
    ]
    return shot(thumbnails.whole(image), shown(image.file_name, 120), "\n".join(line for line in lines if line))


def examples_body(examples: Sequence[ClassExamples], thumbnails: Thumbnails) -> str:
    """A few faces of every class, cut out with something around them and with their box."""
    if not examples:
        return soft("There is no face to show.")
    body = soft("The yellow frame is the annotated box. A face without one is shown as its whole image.")
    for group in examples:
        body += f"<h3>{escape(shown(group.label or 'without a class', 60))}</h3>"
        body += shots(
            shot(
                thumbnails.face(image, face.box),
                shown(image.file_name, 120),
                shown(image.person or image.file_name, 26),
            )
            for image, face in group.faces
        )
    if thumbnails.failed:
        named = "; ".join(f"{shown(name, 60)}: {shown(why, 120)}" for name, why in thumbnails.failed[:_FAILURES])
        body += f'<p class="bad">{len(thumbnails.failed):,} pictures could not be shown: {escape(named)}</p>'
    return body
