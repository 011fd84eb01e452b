"""What the data steps record about a data set: the `info` object of an annotations file."""

from typing import Any

from pydantic import BaseModel, ConfigDict

Tallies = dict[str, int]
Examples = dict[str, list[str]]


class _Part(BaseModel):
    """Keys of other programs and versions are kept; a part that was not set is not written."""

    model_config = ConfigDict(frozen=True, extra="allow")

    def record(self) -> dict[str, Any]:
        """Return the JSON object: what was set or read, and nothing else."""
        return self.model_dump(exclude_unset=True)


class Counts(_Part):
    """Sizes of a data set; `persons` is 0 when no image has a person."""

    images: int = 0
    faces: int = 0
    persons: int = 0
    images_without_person: int = 0


class Snapshot(Counts):
    """Sizes of a data set, and its faces per label space and class."""

    class_counts: dict[str, Tallies] = {}


class CurationStep(_Part):
    """One operation of `curate`: its options, what it did, with examples, and the data before and after it."""

    operation: str
    options: dict[str, Any] = {}
    counts: Tallies = {}
    examples: Examples = {}
    before: Snapshot | None = None
    after: Snapshot | None = None


class SplitInfo(_Part):
    """How `split` divided the images, and the result by split; keys that only some modes have are extra ones.

    Attributes:
        mode, label_space, seed: the arguments of `split`.
        images: labeled images per split; a split without images is absent, here and below.
        persons: persons per split; images without a person id count as one person each.
        asked: the requested ratio of every split that was divided by ratio.
        ratios: share of the labeled images that have a split.
        class_counts: faces per split and class label.
        lacking: the classes that a split has no face of, by split, where it was divided by ratio.
        unlabeled: images without a class in the label space; likewise `unlabeled_train`, those of them in train.
        not_trainable: labeled images that would be in train but are excluded from it; they have no split.
        crossing_persons: persons who are in more than one split.
    """

    mode: str | None = None
    label_space: str | None = None
    seed: int | None = None
    images: Tallies = {}
    persons: Tallies = {}
    asked: dict[str, float] = {}
    ratios: dict[str, float] = {}
    class_counts: dict[str, Tallies] = {}
    lacking: dict[str, list[str]] = {}
    unlabeled: int = 0
    unlabeled_train: int = 0
    not_trainable: int = 0
    crossing_persons: int = 0


class CropInfo(_Part):
    """How `crop_faces` cut the faces.

    `lossless` is false where the crops were compressed as JPEGs once more; `failed` are the ids of the faces that
    have no crop.
    """

    options: dict[str, Any] = {}
    lossless: bool = True
    failed: tuple[int, ...] = ()


class DetectionInfo(_Part):
    """How `choose_faces` gave the faces their boxes.

    Attributes:
        detectors: the names of the chain's members, in order; `chain_digest` is that of the chain and its limits.
        options: those of `choose_faces`.
        methods: images by how their faces got their boxes.
        unsure: images by why their boxes may be wrong.
    """

    detectors: tuple[str, ...] = ()
    chain_digest: str | None = None
    options: dict[str, Any] = {}
    methods: Tallies = {}
    unsure: Tallies = {}


class DatasetInfo(_Part):
    """Where a data set comes from and what the steps did to it.

    Attributes:
        format: the layout that `ingest` read.
        source: the address of the raw data; of a local folder only its name.
        source_digest: the digest of the source's listing.
        images_digest: names the data set: the sha256 over the names and digests of all pictures that `ingest` wrote.
        leaks: whether one person or picture is known to be in several splits.
        persons_known: whether any image has a person.
        counts: sizes of the data set.
        layout: how the raw data were understood, in sentences.
        dropped: images that should have been usable, by reason, with the first names of each in `dropped_examples`;
            likewise `lost`, faces, labels, boxes and splits that could not be read, `skipped`, files that do not belong
            to the data, and `notes`, what was read in another way than it is written.
        curation: the operations of `curate`, in order.
        split: the last division by `split`.
        crops: how the images were cut out of photos; None where they are photos.
        detection: the last choice of found faces by `choose_faces`.
    """

    format: str | None = None
    source: str | None = None
    source_digest: str | None = None
    images_digest: str | None = None
    leaks: bool = False
    persons_known: bool = False
    counts: Counts = Counts()
    layout: tuple[str, ...] = ()
    dropped: Tallies = {}
    dropped_examples: Examples = {}
    lost: Tallies = {}
    lost_examples: Examples = {}
    skipped: Tallies = {}
    skipped_examples: Examples = {}
    notes: Tallies = {}
    notes_examples: Examples = {}
    curation: tuple[CurationStep, ...] = ()
    split: SplitInfo | None = None
    crops: CropInfo | None = None
    detection: DetectionInfo | None = None

    def parameters(self) -> dict[str, Any]:
        """Return where the data come from and what was done to them, for the parameters of a run."""
        split = self.split.model_dump(include={"mode", "seed", "ratios", "images"}) if self.split is not None else {}
        known = {"source": self.source, "source_digest": self.source_digest, "format": self.format}
        curation = [{step.operation: step.options} for step in self.curation]
        return {name: value for name, value in {**known, "curation": curation, "split": split}.items() if value}

    def changed(self, **parts: Any) -> "DatasetInfo":
        """Return a copy with other parts. Raises ValidationError when one has another type."""
        return DatasetInfo.model_validate({**self.record(), **parts})
