"""A share of the answered pictures, kept in S3 or a folder, so that they can be labeled and trained on."""

import asyncio
import contextlib
import hashlib
import json
import logging
import queue
import random
import threading
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from prometheus_client.core import CounterMetricFamily, Metric

from serving.runtime.addresses import public_address
from serving.runtime.errors import StorageError
from serving.runtime.image.header import read_header
from serving.runtime.image.photo_types import type_of
from serving.runtime.predictor import FaceResult, Predictor
from serving.runtime.storage import Location

# Of pictures that wait to be stored; more are left out, and counted.
MAX_WAITING_BYTES = 32 * 2**20
# Written at the start, and deleted again where that is permitted. `ingest` passes over such names.
_TRIAL = ".facet-trial"
_LABELME = "5.5.0"
"""The version of LabelMe whose form the files have."""

_log = logging.getLogger(__name__)


class Sampling:
    """Keeps a random share of the pictures below `uri`, as they were sent, with what was found in each.

    A picture is `<day>/<sha256>.<type>`, and beside it is a JSON file of LabelMe's: a rectangle called `face` around
    each face, whose description says what the model said. LabelMe opens the folder, and `ingest` reads it. What the
    model said is no label there. The same picture is kept once a day. A thread of its own stores them, and says at its
    start when it cannot; no request waits for it.

    Attributes:
        stored: how many pictures were stored.
        lost: how many were chosen and not stored, since the storage was too slow or failed.

    Args:
        uri: `s3://bucket/prefix` or a folder.
        share: of the pictures, 0 to 1.
        seed: of the random choice.

    Raises:
        InputError: `uri` is not a location.
    """

    def __init__(self, uri: str, share: float, seed: int | None = None) -> None:
        self._location = Location(uri)
        self.share = share
        self.stored = 0
        self.lost = 0
        self._random = random.Random(seed)
        self._waiting: queue.SimpleQueue[_Sample | None] = queue.SimpleQueue()
        self._bytes = 0
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._store_all, name="sampling", daemon=True)

    async def start(self) -> None:
        """Begin to store."""
        _log.warning("%g %% of the pictures are stored in %s as they are sent", 100 * self.share, self._where)
        self._thread.start()

    async def stop(self, seconds: float) -> None:
        """Store what waits, for so many seconds at most."""
        self._waiting.put(None)
        await asyncio.to_thread(self._thread.join, seconds)
        if self._thread.is_alive():
            _log.warning("%d pictures were not stored in %s in time", self._waiting.qsize(), self._where)

    def offer(self, model: Predictor, data: bytes, faces: Iterable[FaceResult]) -> None:
        """Keep this picture, or not."""
        if self._random.random() >= self.share:
            return
        with self._lock:
            if self._bytes + len(data) > MAX_WAITING_BYTES:
                self.lost += 1
                return
            self._bytes += len(data)
        self._waiting.put(_Sample(model, data, list(faces)))

    def collect(self) -> Iterator[Metric]:
        """Yield the counts, as Prometheus' registry asks for them."""
        counts = CounterMetricFamily(
            "facet_samples", "Pictures chosen to be kept, by what became of them", labels=["state"]
        )
        counts.add_metric(["stored"], self.stored)
        counts.add_metric(["lost"], self.lost)
        yield counts

    @property
    def _where(self) -> str:
        return public_address(self._location.uri)

    def _store_all(self) -> None:
        self._try()
        while (sample := self._waiting.get()) is not None:
            try:
                sample.write(self._location)
                self.stored += 1
            except Exception as error:  # a server may answer anything, and the thread must go on
                with self._lock:
                    self.lost += 1
                _log.warning("a picture could not be stored in %s: %s", self._where, error)
            with self._lock:
                self._bytes -= len(sample.data)

    def _try(self) -> None:
        try:
            self._location.write(b"", _TRIAL)
        except Exception as error:  # as above
            _log.error("no picture can be stored in %s, those chosen are lost: %s", self._where, error)
            return
        with contextlib.suppress(StorageError):  # who may write there may not always delete
            self._location.delete(_TRIAL)


class _Sample:
    """A picture with what a model said of it."""

    def __init__(self, model: Predictor, data: bytes, faces: list[FaceResult]) -> None:
        self._model = f"{model.name} version {model.version}"
        self.data = data
        self._faces = faces

    def write(self, location: Location) -> None:
        """Write the picture and its LabelMe file; raises as `Location.write`."""
        day, stem = datetime.now(UTC).strftime("%Y-%m-%d"), hashlib.sha256(self.data).hexdigest()
        kind = type_of(self.data)
        picture = f"{stem}{kind.suffixes[0] if kind else ''}"
        height, width = read_header(self.data).upright
        document: dict[str, Any] = {
            "version": _LABELME,
            "flags": {},
            "shapes": [self._shape(face, height, width) for face in self._faces],
            "imagePath": picture,
            "imageData": None,
            "imageHeight": height,
            "imageWidth": width,
        }
        location.write(self.data, f"{day}/{picture}")
        location.write(json.dumps(document, indent=2).encode() + b"\n", f"{day}/{stem}.json")

    def _shape(self, face: FaceResult, height: int, width: int) -> dict[str, Any]:
        x, y, w, h = face.box or (0.0, 0.0, float(width), float(height))
        best = {name: max(values, key=values.__getitem__) for name, values in face.heads.items()}
        said = [f"{name}: {label} {face.heads[name][label]:.2f}" for name, label in best.items()]
        return {
            "label": "face",
            "points": [[x, y], [x + w, y + h]],
            "group_id": None,
            "description": ", ".join([self._model, *said]),
            "shape_type": "rectangle",
            "flags": {},
            "mask": None,
        }
