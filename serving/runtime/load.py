"""Loading of models: from a file, a folder, S3 or the registry to the predictor of their task."""

import hashlib
from collections.abc import Callable

from serving.runtime.composite import Composite
from serving.runtime.composite_card import read_composite_card
from serving.runtime.detector import Detector
from serving.runtime.errors import InputError, StorageError
from serving.runtime.predictor import Classifier, Predictor
from serving.runtime.reference import REFERENCE_FILE, read_reference
from serving.runtime.registry import FetchedModel, Folder, fetch_member, fetch_model
from serving.runtime.session import Session

PREDICTORS: dict[str, Callable[..., Predictor]] = {"classification": Classifier, "detection": Detector}
"""Task -> its predictor, called with the session, `name` and `version`."""


def open_model(
    content: bytes,
    *,
    name: str | None = None,
    version: str = "",
    threads: int | None = None,
    source: str = "the model",
    reference: bytes = b"",
) -> Predictor:
    """Load a model from the content of its file.

    Args:
        content: of the ONNX file.
        name: replaces the card's name.
        version: for answers and tables; by default the first 12 digits of the file's sha256.
        threads: CPU threads per call; by default as many as this process may use.
        source: names the file in errors.
        reference: content of the `reference.json` of a classifier, where there is one.

    Raises:
        InputError: the file is not ONNX, has no valid card, its graph is not what its card says, or there is no
            predictor for its task; or the reference is none.
    """
    session = Session(content, threads=threads, source=source)
    task = session.card.task
    if task not in PREDICTORS:
        raise InputError(
            f"{session.source}: a model of task '{task}'; this version serves models of task {', '.join(PREDICTORS)}"
        )
    known = reference and task == "classification"
    options = {"reference": read_reference(reference, f"{source}: {REFERENCE_FILE}")} if known else {}
    return PREDICTORS[task](session, name=name or session.card.name, version=version or session.sha256[:12], **options)


def load_model(uri: str, *, name: str | None = None, threads: int | None = None) -> Predictor:
    """Load a model from where it is stored.

    Args:
        uri: an ONNX file, the file of a composite, or a folder with one, on the disk or in S3 (`s3://bucket/path`), or
            a registered model (`models:/name@alias`, `models:/name/version`, `models:/name/latest`).
        name: the name to serve it under; by default the registered name, else the card's.
        threads: CPU threads per call; by default as many as this process may use.

    Returns:
        The model. Its version is the registered one, else as for `open_model`.

    Raises:
        InputError: the URI is invalid or the file is not a usable model, or a member of the composite is not.
        NotFoundError: no such registered model, version or alias.
        StorageError: the location cannot be reached or holds no model.
    """
    fetched = fetch_model(uri)
    if fetched.folder is not None:
        return _open_composite(fetched, fetched.folder, name or fetched.name, threads, uri)
    return _open(fetched, name, threads, uri)


def _open_composite(
    fetched: FetchedModel, folder: Folder, name: str | None, threads: int | None, source: str
) -> Composite:
    card = read_composite_card(fetched.content, source)
    members = [_open_member(uri, folder, threads, source) for uri in card.members]
    digest = hashlib.sha256(fetched.content)
    for member in members:
        digest.update(bytes.fromhex(member.sha256))
    sha256 = digest.hexdigest()
    version = fetched.version or sha256[:12]
    return Composite(card, members, name=name or card.name, version=version, sha256=sha256, source=source)


def _open_member(uri: str, folder: Folder, threads: int | None, source: str) -> Predictor:
    """Load one model of a composite. The errors are those of `load_model`, and name both."""
    subject = f"{source}: its member {uri}"
    try:
        fetched = fetch_member(uri, folder)
    except (InputError, StorageError) as error:
        raise type(error)(f"{subject}: {error}") from error
    if fetched.folder is not None:
        raise InputError(f"{subject} is a composite itself; name the members of that one")
    return _open(fetched, None, threads, subject)


def _open(fetched: FetchedModel, name: str | None, threads: int | None, source: str) -> Predictor:
    return open_model(
        fetched.content,
        name=name or fetched.name,
        version=fetched.version,
        threads=threads,
        source=source,
        reference=fetched.reference,
    )
