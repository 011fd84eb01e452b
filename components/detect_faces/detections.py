"""What a chain of detectors found: a file of JSON lines, the first about the chain, one for each image after it."""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from components.shared.dataset.annotations import Box
from serving.runtime.errors import InputError, NotFoundError
from serving.runtime.output import whole_file

RecordT = TypeVar("RecordT")


class FoundFace(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A face that a detector found.

    Attributes:
        box: x, y, width, height in upright pixels, clipped to the image; of an implausible one as it was found.
        member: the name of the detector.
        score: its confidence; None where it gives none.
        keypoints: x, y in upright pixels by name.
        implausible: why the box is not plausible; empty for a plausible one.
    """

    box: Box
    member: str
    score: float | None = None
    keypoints: dict[str, tuple[float, float]] = {}
    implausible: str = ""


class FoundFaces(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What was found in one image.

    Attributes:
        file_name: the image; likewise `sha256` of its file, and `height` and `width` in upright pixels, 0 where it
            cannot be decoded.
        member: the name of the detector that found the plausible faces; empty where none did.
        faces: all of all detectors that saw the image, in their order.
        failed: why the image cannot be decoded, a reason for counting and a message; empty for a sound one.
    """

    file_name: str
    sha256: str | None = None
    height: int = 0
    width: int = 0
    member: str = ""
    faces: tuple[FoundFace, ...] = ()
    failed: tuple[str, ...] = ()

    @property
    def plausible(self) -> list[FoundFace]:
        """The plausible faces, all of one detector."""
        return [face for face in self.faces if not face.implausible]


class MemberRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A detector of the chain: its name, the lowest score of a face (None without one), the names of its keypoints."""

    name: str
    threshold: float | None = None
    points: tuple[str, ...] = ()


class ChainRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first line: the chain that searched.

    Attributes:
        members: its detectors, in order.
        sha256: of the chain and its options.
        unused: rows of tables whose paths name no image, by the table's name and the reason, with the first paths of
            each in `unused_examples`. Only the first shard says it.
    """

    members: tuple[MemberRecord, ...]
    sha256: str
    unused: dict[str, int] = {}
    unused_examples: dict[str, list[str]] = {}

    @property
    def thresholds(self) -> dict[str, float | None]:
        """The lowest score of each detector, in order."""
        return {member.name: member.threshold for member in self.members}


def write_detections(path: Path, chain: ChainRecord, images: Iterable[FoundFaces]) -> None:
    """Write the lines as they come; the file appears whole or not at all."""
    with whole_file(path) as partial, partial.open("w", encoding="utf-8") as file:
        file.write(_line(chain))
        file.writelines(map(_line, images))


def write_images(path: Path, images: Iterable[FoundFaces]) -> None:
    """Write the lines of images alone, see `read_images`."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(map(_line, images))


def read_images(path: Path) -> Iterator[FoundFaces]:
    """Read what `write_images` wrote."""
    return _lines(path, FoundFaces, 1)


def _line(record: Any) -> str:
    """Encode with the standard library, as annotations are."""
    values = msgspec.to_builtins(record)
    return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False) + "\n"


def read_detections(paths: Sequence[Path]) -> tuple[ChainRecord, Iterator[FoundFaces]]:
    """Read the shards of one data set, in the order of the paths.

    Raises NotFoundError when there is no such file, InputError naming it when it is none of detect_faces, when the
    shards are of different chains, or an image is in two of them; also when there are no paths.
    """
    if not paths:
        raise InputError("detections: no file; expected those that detect_faces wrote, one for each shard")
    records = [next(_lines(path, ChainRecord, 1, 1)) for path in paths]
    for path, record in zip(paths, records, strict=True):
        if record.sha256 != records[0].sha256:
            raise InputError(f"{path}: other detectors or options than in {paths[0]}; detect all shards alike")
    return records[0], _images(paths)


def _images(paths: Sequence[Path]) -> Iterator[FoundFaces]:
    seen: dict[str, Path] = {}
    for path in paths:
        for image in _lines(path, FoundFaces, 2):
            if image.file_name in seen:
                raise InputError(f"{path}: image '{image.file_name}' is in {seen[image.file_name]} already")
            seen[image.file_name] = path
            yield image


def _lines(path: Path, kind: type[RecordT], first: int, last: int | None = None) -> Iterator[RecordT]:
    """Yield the lines from number `first` on, to number `last` where it is stated."""
    decoder = msgspec.json.Decoder(kind)
    number = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(islice(file, last), start=1):
                if number >= first:
                    yield decoder.decode(line)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise NotFoundError(f"{path}: no such file of detections; expected one of detect_faces") from error
    except msgspec.MsgspecError as error:
        raise InputError(f"{path}: line {number} is not of a file of detect_faces: {error}") from error
    if not number:
        raise InputError(f"{path}: is empty; expected a file of detect_faces")
