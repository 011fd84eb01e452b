"""Evaluation data: a table `info.csv` that names the pictures in `images/`, without persons and mostly unlabeled."""

import posixpath

from pydantic import Field

from components.ingest.formats.listing import Listing, Options, Record, image_paths
from components.ingest.sources.source import Source
from components.shared.dataset.annotations import Face
from components.shared.dataset.label_spaces import label_space

_NAME = "ImageID"
_ANSWER = "ans"


class EvaluationOptions(Options):
    """Options of evaluation data.

    Attributes:
        table: the table below the source; the pictures are in the folder `images` beside it.
        ans: the label space whose class numbers the column `ans` holds. By default that column is not read: as the
            data comes, it is missing or a placeholder.
    """

    table: str = Field(default="info.csv", min_length=1)
    ans: str | None = None


def read_evaluation(source: Source, options: EvaluationOptions) -> Listing:
    """Find the pictures that the table names; all are in the split `test`, none has a person.

    A class number becomes its attributes: mask, gender, and the class of age, which is no age, as `age_band`. A picture
    whose number cannot be read is dropped, and so is one whose rows differ. Raises InputError when the table or a
    column is missing.
    """
    listing = Listing()
    source.require(options.table, "table", "table")
    space = label_space(options.ans) if options.ans is not None else None
    attributes_of = {str(n): space.attributes_of(n) for n in range(len(space.class_labels))} if space else {}
    folder = posixpath.join(posixpath.dirname(options.table), "images")
    images = image_paths((path for path in source.paths if path != options.table), listing)
    table = source.read_table(options.table, (_NAME,) if space is None else (_NAME, _ANSWER))
    listing.count_faulty_rows(table, options.table)
    answers: dict[str, list[str]] = {path: [] for path in images}
    for row in table.rows:
        path = posixpath.join(folder, row.cells[_NAME])
        if path in answers:
            answers[path].append("" if space is None else row.cells[_ANSWER])
        else:
            listing.dropped.add("missing_file", f"{options.table}: row {row.line}: {row.cells[_NAME]}")
    for path, classes in answers.items():
        if not classes:
            listing.skipped.add("no_row", path)
        elif len(set(classes)) > 1:
            listing.dropped.add("conflicting_rows", path)
        elif classes[0] and classes[0] not in attributes_of:
            listing.dropped.add("bad_ans", f"{path} ({classes[0]})")
        else:
            if len(classes) > 1:
                listing.notes.add("duplicate_row", path, len(classes) - 1)
            face = Face(0, None, {**attributes_of.get(classes[0], {})})
            listing.records.append(Record(path, (face,), split="test"))
    return listing
