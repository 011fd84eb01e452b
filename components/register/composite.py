"""Detectors and a classifier as one registered model: a version whose file names the versions of all of them."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.register.package import open_candidate
from components.register.versions import Candidate, Registration, register_version
from serving.runtime.composite import Composite
from serving.runtime.composite_card import COMPOSITE_FILE, CompositeCard, DetectorMember
from serving.runtime.errors import InputError
from serving.runtime.load import open_model
from serving.runtime.registry import MODEL_FILE

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel

CHAIN_FILE = "chain.json"
_FOLDER = re.compile(r"(?P<number>[0-9]+)-(?P<name>[A-Za-z0-9_.-]+)")


@dataclass(frozen=True, slots=True)
class FoundDetector:
    """A detector of the chain: its name in the registry, its model, and what the chain says of its thresholds."""

    name: str
    model: Candidate
    thresholds: dict[str, Any]


def find_detectors(folder: Path) -> list[FoundDetector]:
    """Return the detectors with a graph in a folder of the step `adopt_detectors`, in the order of the chain.

    Members without a graph, such as dlib or a table of boxes, cannot be served and are left out.

    Raises InputError when one is not a detector that can be served.
    """
    found = []
    for path in sorted(folder.glob(f"*/{MODEL_FILE}")):
        match = _FOLDER.fullmatch(path.parent.name)
        if not match:
            raise InputError(f"{path.parent}: expected a folder of adopt_detectors, such as 1-yunet")
        model = open_candidate(path, {})
        if model.kind != "detector":
            raise InputError(f"{path}: a {model.kind}; expected a detector")
        found.append((int(match["number"]), match["name"], model))
    found.sort(key=lambda one: one[0])
    thresholds = _thresholds(folder / CHAIN_FILE)
    return [FoundDetector(name, model, thresholds.get(number, {})) for number, name, model in found]


def register_composite(
    name: str, classifier: Registration, model: Candidate, detectors: Sequence[FoundDetector], run_id: str
) -> Registration:
    """Register the detectors, each file once, and a version of `name` that names the versions of all members.

    Raises as `register_version`, and InputError when the members do not fit together.
    """
    members = [register_version(detector.model, detector.name, "", once=True) for detector in detectors]
    card = CompositeCard(
        name=name,
        detectors=tuple(
            DetectorMember(uri=member.uri, **detector.thresholds)
            for member, detector in zip(members, detectors, strict=True)
        ),
        heads=(classifier.uri,),
    )
    content = (card.model_dump_json(indent=2, exclude_none=True) + "\n").encode()
    opened = [open_model(one.content, source=uri) for one, uri in zip(
        [*(detector.model for detector in detectors), model], card.members, strict=True)]
    Composite(card, opened, name=name, version="", sha256="", source=f"the composite '{name}'")

    def write(folder: Path, logged: "LoggedModel", run: str) -> None:
        folder.mkdir()
        (folder / COMPOSITE_FILE).write_bytes(content)

    tags = {"detectors": " ".join(uri for uri in card.members[:-1]), "heads": classifier.uri}
    return register_version(Candidate(COMPOSITE_FILE, content, "composite", write, tags), name, run_id)


def _thresholds(file: Path) -> dict[int, dict[str, Any]]:
    raise NotImplementedError
