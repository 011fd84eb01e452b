"""Detectors and a classifier as one registered model: a version whose file names the versions of all of them."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.register.package import open_candidate
from components.register.page import composite_page
from components.register.versions import Candidate, Registration, register_version
from components.shared.chain_file import plain_name, read_chain
from components.shared.options import parse_options
from components.shared.tracking.registry import TRAINED
from serving.runtime.composite import Composite
from serving.runtime.composite_card import COMPOSITE_FILE, CompositeCard, DetectorMember
from serving.runtime.errors import InputError
from serving.runtime.load import open_model
from serving.runtime.plausible import BoxLimits

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FoundDetector:
    """A detector of a chain that can be served: its name in the registry, its model, and its options.

    `version` is the one that it is registered as already, "" for none.
    """

    name: str
    model: Candidate
    options: Mapping[str, Any]
    version: str = ""

    def register(self) -> str:
        """Register the detector unless it is registered, and return its address. Raises as `register_version`."""
        if self.version:
            return f"models:/{self.name}/{self.version}"
        return register_version(self.model, self.name, "", once=True).uri

    def member(self, uri: str) -> DetectorMember:
        """Return what the file of the composite says of it. Raises InputError for options that it cannot have."""
        return parse_options(DetectorMember, {**self.options, "uri": uri}, f"detector '{self.name}' of the chain")


def find_detectors(folder: Path) -> list[FoundDetector]:
    """Return the ONNX detectors in a folder of the step `adopt_detectors`, in the order of the chain.

    Others, such as dlib's or a table of boxes, cannot be served; the log names them. A detector is registered under its
    name in the chain; members with the same file have the name of the first.

    Raises InputError as `read_chain`, or when a model is not a detector.
    """
    found = []
    names: dict[str, str] = {}
    for member in read_chain(folder).members:
        if member.kind != "onnx":
            _log.warning("detector '%s' of the chain has no graph; the composite is without it", member.name)
            continue
        model = open_candidate(folder / member.file, {})
        if model.kind != "detector":
            raise InputError(f"{folder / member.file}: a {model.kind}; expected a detector")
        name = names.setdefault(member.sha256, plain_name(member.name))
        found.append(FoundDetector(name, model, member.options))
    return found


def box_limits(detect_options: Mapping[str, Any]) -> BoxLimits:
    """Return the limits of plausible boxes among the options of detect_faces. Raises InputError for other options."""
    limits = {name: value for name, value in detect_options.items() if name != "max_failed"}
    return parse_options(BoxLimits, limits, "detect_options")


def register_composite(
    name: str,
    classifier: Registration,
    model: Candidate,
    detectors: Sequence[FoundDetector],
    limits: BoxLimits,
    run_id: str,
) -> Registration:
    """Register the detectors, each file once, and a version of `name` that names the versions of all members.

    Args:
        name: of the composite in the registry.
        classifier: its head.
        model: the file of the classifier.
        detectors: those of the chain, in order.
        limits: which found boxes are faces.
        run_id: the training run; "" opens a run for the composite.

    Raises:
        InputError: the members do not fit together.
        StorageError: see `register_version`.
    """
    uris = [detector.register() for detector in detectors]
    members = tuple(detector.member(uri) for detector, uri in zip(detectors, uris, strict=True))
    card = CompositeCard(name=name, detectors=members, heads=(classifier.uri,), limits=limits)
    files = [*(detector.model for detector in detectors), model]
    models = [open_model(file.content, source=uri) for file, uri in zip(files, card.members, strict=True)]
    Composite(card, models, name=name, version="", sha256="", source=f"the composite '{name}'")
    content = f"{card.model_dump_json(indent=2, exclude_none=True)}\n".encode()

    def write(folder: Path, logged: "LoggedModel", run: str) -> None:
        folder.mkdir()
        (folder / COMPOSITE_FILE).write_bytes(content)

    trained = [uri for detector, uri in zip(detectors, uris, strict=True) if detector.version]
    tags = {"detectors": " ".join(uris), "heads": classifier.uri} | ({TRAINED: " ".join(trained)} if trained else {})
    candidate = Candidate(COMPOSITE_FILE, content, "composite", write, tags, lambda _: composite_page(card))
    return register_version(candidate, name, run_id)
