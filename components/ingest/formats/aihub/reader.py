"""AI Hub's Korean emotion data: photos in emotion folders, and label files with emotion, face box and attributes.

Folders may be nested and called in any of the ways that deliveries come in; see `aihub_names.folder_labels`:

    happy/raw/train/*.jpg        happy/labeled/train/*.json      happy/raw/validation, happy/labeled/validation
    test_set/happy/*.jpg         test_set/happy.json             test_set/test_hap, test_set/기쁨.json
    images/happy/*.jpg           labels/happy/*.json
    [원천]EMOIMG_기쁨_TRAIN_01/    [라벨]EMOIMG_기쁨_TRAIN/img_emotion_training_data(기쁨).json
    images/EMOIMG_HAPPY_SAMPLE/  labels/EMOIMG_HAPPY_SAMPLE/
"""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from pydantic import Field

from components.ingest.formats.aihub.labels import UNKNOWN, BoxPolicy, Label, merge_boxes, read_label_file
from components.ingest.formats.aihub.names import (
    EMOTIONS,
    FolderLabels,
    emotion_of,
    folder_labels,
    join_key,
    parse_name,
    repaired,
)
from components.ingest.formats.listing import BoxOptions, Listing, Record, image_paths
from components.ingest.sources.source import Source
from components.shared.dataset.annotations import Face
from components.shared.dataset.tally import Tally
from components.shared.dataset.text import is_hidden

_log = logging.getLogger(__name__)


class AihubOptions(BoxOptions):
    """Options of AI Hub's emotion data.

    Attributes:
        label_policy: which annotation defines the label. `uploader`: the uploader's; an image without one of the
            seven is dropped. `majority`: the emotion that more annotators chose than any other, at least `min_votes`
            of them. `unanimous`: the one that all three chose. An annotator who is unsure or gives no answer does not
            count; an image without a majority, a tie included, or without unanimity is dropped.
        min_votes: how many annotators a majority needs.
        box_policy: the valid boxes of the annotators A, B and C as one: the first of them (`first_valid`), their
            `median` corner by corner, or the smallest box around all (`union`). A valid box has numbers for corners,
            a positive size, and `min_inside` of its area in the image.
        folder_policy: what counts where the folder names another emotion than the label policy finds: the `label`,
            the `folder`, or `drop` the image. Counted in any case.
    """

    label_policy: Literal["uploader", "majority", "unanimous"] = "uploader"
    min_votes: int = Field(default=2, ge=1, le=3)
    box_policy: BoxPolicy = "first_valid"
    folder_policy: Literal["label", "folder", "drop"] = "label"


@dataclass(slots=True)
class _Entry:
    """A label, the labels of its file's folder, and whether an image uses it."""

    label: Label
    folder: FolderLabels
    used: bool = False


_Labels = dict[str, list[_Entry]]


def read_aihub(source: Source, options: AihubOptions) -> Listing:
    """Find the photos of AI Hub's emotion data and the label record of each, in any layout (see the module).

    An image and its record have the same name, compared in composed letters (NFC). The same name may occur in several
    emotions and splits: a record of the image's own split is preferred, then one of its emotion, then one whose file
    tells no emotion, then any. The split is that of the image's folder, or else that of the label file. The person is
    the first field of a file name that follows the rule.

    Raises InputError naming the file when a label file is not JSON.
    """
    listing = Listing(merge=partial(merge_boxes, policy=options.box_policy))
    files = [path for path in source.paths if path.lower().endswith(".json") and not is_hidden(path)]
    images = _without_doubles(image_paths(set(source.paths).difference(files), listing), listing.skipped)
    labels = _read_labels(source, files, listing)
    labeled = {entry.folder.emotion for entries in labels.values() for entry in entries}
    for path, folder in images:
        entry = _entry_of(path, folder, labels, labeled, listing)
        record = _record(path, folder, entry, options, listing) if entry else None
        if record is not None:
            listing.records.append(record)
    for name, entries in labels.items():
        for entry in entries:
            if not entry.used:
                listing.notes.add("record_without_an_image", name)
    missing = list(_missing_emotions(folder for _, folder in images))
    for name in missing:
        listing.notes.add("missing_emotion", name)
    if missing:
        _log.warning("%s: no image of %s", source.uri, ", ".join(missing))
    return listing


def _without_doubles(paths: Iterable[str], skipped: Tally) -> list[tuple[str, FolderLabels]]:
    """Return the images in the order of their paths with the labels of their folders.

    Of several files with one name in the same emotion and split only the one nearest to the top is kept: they are the
    same photo, such as one that lies beside the archive it came in.
    """
    first: dict[tuple[str, FolderLabels], str] = {}
    for path in sorted(paths, key=lambda path: (path.count("/"), path)):
        parent, _, name = path.rpartition("/")
        if first.setdefault((repaired(name), folder_labels(parent)), path) != path:
            skipped.add("second_file_of_a_name", path)
    return sorted((path, folder) for (_, folder), path in first.items())


def _read_labels(source: Source, files: Iterable[str], listing: Listing) -> _Labels:
    labels: _Labels = {}
    for file in files:
        content = read_label_file(source, file)
        if content is None:
            listing.skipped.add("json_without_label_records", file)
            continue
        named, others = content
        if others:
            listing.notes.add("record_without_a_file_name", file, others)
        folder = folder_labels(file[: -len(".json")])
        for name, label in named:
            labels.setdefault(join_key(name), []).append(_Entry(label, folder))
    return labels


def _entry_of(
    path: str, folder: FolderLabels, labels: _Labels, labeled: set[str | None], listing: Listing
) -> _Entry | None:
    """Return the label entry of an image, or None when it has no unambiguous one and is dropped."""

    def distance(entry: _Entry) -> int:
        if folder.emotion is not None and entry.folder.emotion not in (folder.emotion, None):
            return 3
        if folder.emotion != entry.folder.emotion:
            return 2
        return 0 if entry.folder.split == folder.split else 1

    entries = labels.get(repaired(_name(path)), [])
    if not entries:
        without_file = folder.emotion is not None and not labeled & {folder.emotion, None}
        listing.dropped.add("no_label_file_of_the_emotion" if without_file else "no_label_record", path)
        return None
    nearest = min(map(distance, entries))
    entries = [entry for entry in entries if distance(entry) == nearest]
    for entry in entries:
        entry.used = True
    if any(entry.label != entries[0].label for entry in entries):
        listing.dropped.add("contradicting_records", path)
        return None
    if len(entries) > 1:
        listing.notes.add("duplicate_record", path, len(entries) - 1)
    if nearest == 3:
        listing.notes.add("record_of_another_emotion", path)
    return entries[0]


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _record(path: str, folder: FolderLabels, entry: _Entry, options: AihubOptions, listing: Listing) -> Record | None:
    """Make the record of an image, or drop it and count why."""
    label = entry.label
    for flaw in label.flaws:
        listing.notes.add(flaw, path)
    emotion, reason = _emotion(label, options)
    if emotion is None:
        listing.dropped.add(reason, f"{path}: {label.uploader!r}" if options.label_policy == "uploader" else path)
        return None
    if folder.emotion not in (emotion, None):
        if options.folder_policy == "drop":
            listing.dropped.add("folder_disagrees", path)
            return None
        listing.notes.add("folder_disagrees", path)
        if options.folder_policy == "folder":
            emotion = folder.emotion
    if not label.boxes:
        if options.no_box == "drop":
            listing.dropped.add("no_valid_box", path)
            return None
        listing.notes.add("no_valid_box", path)
    uploader = emotion_of(label.uploader)
    if uploader is None:
        listing.notes.add("unknown_emotion_of_the_uploader", f"{path}: {label.uploader!r}")
    name = parse_name(_name(path))
    if name is None:
        listing.notes.add("name_without_a_person", path)
    values: dict[str, Any] = {
        "emotion": emotion,
        "uploader": uploader,
        "votes": list(label.votes) or None,
        "gender": label.gender or (name.gender if name else None),
        "age": label.age if label.age is not None or name is None else name.age,
        "background": label.background or (name.background if name else None),
    }
    attributes = {key: value for key, value in values.items() if value is not None}
    return Record(
        path,
        (Face(0, None, attributes),),
        name.person if name else None,
        folder.split or entry.folder.split,
        candidates=label.boxes,
    )


def _emotion(label: Label, options: AihubOptions) -> tuple[str | None, str]:
    """Return the emotion by the label policy, or None and the reason for dropping."""
    if options.label_policy == "uploader":
        return emotion_of(label.uploader), "unknown_emotion" if label.uploader else "no_emotion"
    votes = Counter(vote for vote in label.votes if vote != UNKNOWN).most_common()
    if options.label_policy == "unanimous":
        return (votes[0][0], "") if votes and votes[0][1] == 3 else (None, "not_unanimous")
    tie = len(votes) > 1 and votes[0][1] == votes[1][1]
    return (None, "no_majority") if not votes or tie or votes[0][1] < options.min_votes else (votes[0][0], "")


def _missing_emotions(folders: Iterable[FolderLabels]) -> Iterator[str]:
    """Yield the emotions without images, in total or in one of the existing splits."""
    splits_of: dict[str, set[str | None]] = {}
    for folder in folders:
        if folder.emotion is not None:
            splits_of.setdefault(folder.emotion, set()).add(folder.split)
    every_split = set().union(*splits_of.values())
    for emotion in EMOTIONS if splits_of else ():
        if emotion not in splits_of:
            yield emotion
            continue
        for split in sorted(every_split - splits_of[emotion], key=str):
            yield f"{emotion} in {split}" if split else f"{emotion} outside of the splits"
