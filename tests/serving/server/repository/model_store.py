"""A place for model files, on the disk or in S3, and files for it."""

import json
import os
from pathlib import Path
from typing import Any

from tiny_model import build_model, card_facts

from serving.runtime.card import METADATA_KEY
from serving.runtime.seal import SEAL_KEY, ZEROS, sealed
from serving.runtime.storage import Location, upload
from serving.server.repository.layout import Repository
from serving.server.repository.loaded import LoadedModels


def sealed_model(number: int = 0, **changes: Any) -> bytes:
    """A model whose file notices a changed byte; another one for each number."""
    card = card_facts(dataset_digest=f"{number:064}", **changes)
    return sealed(build_model(card, metadata={METADATA_KEY: json.dumps(card), SEAL_KEY: ZEROS}))


def flipped(content: bytes) -> bytes:
    """The same file with one bit of a weight changed."""
    at = content.rindex(b"filters") + 100
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


class Store:
    def __init__(self, uri: str, scratch: Path) -> None:
        self.uri = uri
        self._scratch = scratch
        self._time = 1_700_000_000

    def put(self, path: str, content: bytes | str) -> None:
        """Write a file; each write has another time, as on a machine that is slower than this test."""
        data = content.encode() if isinstance(content, str) else content
        target = Location(self.uri)
        if target.bucket:
            self._scratch.write_bytes(data)
            upload(self._scratch, f"{self.uri}/{path}")
            return
        file = target.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        self._time += 1
        os.utime(file, (self._time, self._time))

    def delete(self, path: str) -> None:
        for entry in Location(f"{self.uri}/{path}").list():
            Location(f"{self.uri}/{path}").delete(entry.path)

    def models(self) -> LoadedModels:
        return LoadedModels(Repository(self.uri), lambda: None, lambda *_: None)


def served(models: LoadedModels) -> list[tuple[str, str]]:
    """Look again; names and versions that answer."""
    models.refresh()
    return [(model.name, model.version) for model in models.models]
