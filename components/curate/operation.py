"""What an operation of curate takes and returns."""

from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from components.shared.dataset.annotations import Image
from components.shared.dataset.tally import Tally
from serving.runtime.storage import is_s3
from serving.runtime.validation import Frozen


class Options(Frozen):
    """Base of the operations' options. `locations` names those that are a path or an `s3://` address."""

    locations: ClassVar[tuple[str, ...]] = ()

    def local_paths(self) -> list[Path]:
        """Return the local files and folders that the options name."""
        uris = [getattr(self, name) for name in self.locations]
        return [Path(uri.removeprefix("file://")) for uri in uris if uri and not is_s3(uri)]

    def recorded(self) -> dict[str, Any]:
        """Return the options for `info`: of a local path only its name, so that equal data give equal bytes."""
        values = self.model_dump(mode="json", exclude_none=True)
        for name in self.locations:
            if values.get(name) and not is_s3(values[name]):
                values[name] = Path(values[name]).name
        return values


@dataclass
class Outcome:
    """The images after an operation.

    Attributes:
        images: the remaining images, in any order.
        dropped: dropped images by reason.
        notes: everything else that is counted.
        leaks: whether annotations were merged in that are known to leak.
        keypoint_names: those of annotations that were merged in.
    """

    images: list[Image]
    dropped: Tally = field(default_factory=Tally)
    notes: Tally = field(default_factory=Tally)
    leaks: bool = False
    keypoint_names: tuple[str, ...] = ()

    def drop(self, images: Iterable[Image], ids: Container[int], reason: str) -> None:
        """Keep of `images` those whose ids are not in `ids`, and count the others as dropped."""
        self.images = []
        for image in images:
            if image.id in ids:
                self.dropped.add(reason, image.file_name)
            else:
                self.images.append(image)

    @property
    def counts(self) -> dict[str, int]:
        """Notes and dropped images, by name."""
        return {**self.notes.counts, **self.dropped.counts}


def original_name(image: Image) -> str:
    """Return the name that an image had in the raw data."""
    return image.source or image.file_name
