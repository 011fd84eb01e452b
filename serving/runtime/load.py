"""Loading of models: from a file, a folder, S3 or the registry to the predictor of their task."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from serving.runtime.composite import Composite
from serving.runtime.composite_card import CompositeCard, is_relative, read_composite_card
from serving.runtime.detector import Detector
from serving.runtime.errors import InputError, StorageError
from serving.runtime.predictor import Classifier, Predictor
from serving.runtime.reference import REFERENCE_FILE, read_reference
from serving.runtime.registry import Fingerprint, fetch_member, fetch_model, fingerprint
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


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """The files of a model as they were read: its own, or that of a composite and those of its members.

    Attributes:
        content: of the file.
        source: names it in errors.
        name: the registered one, None where it has none.
        version: the registered one, "" where it has none.
        reference: content of the `reference.json` beside it, empty where there is none.
        card: of a composite; None for any other model.
        members: of a composite, as `card.members`.
        watched: the members' URIs that may come to mean other files, with their fingerprints before they were read.
    """

    content: bytes
    source: str
    name: str | None = None
    version: str = ""
    reference: bytes = b""
    card: CompositeCard | None = None
    members: tuple["ModelFiles", ...] = ()
    watched: Mapping[str, Fingerprint] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """The digest of the file, or of the composite's file and its members' digests."""
        digest = hashlib.sha256(self.content)
        for member in self.members:
            digest.update(bytes.fromhex(member.sha256))
        return digest.hexdigest()

    @property
    def digest(self) -> str:
        """The digest of all that was read."""
        parts = [self.content, self.reference, *(member.digest.encode() for member in self.members)]
        return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()

    def open(self, *, name: str | None = None, version: str = "", threads: int | None = None) -> Predictor:
        """Load the model, and try it on black images.

        Args:
            name: the name to serve it under; by default the registered one, else the card's.
            version: by default the registered one, else the first 12 digits of `sha256`.
            threads: CPU threads per call; by default as many as this process may use.

        Raises:
            InputError: the file is not a usable model, or a member of the composite is not.
        """
        name, version = name or self.name, version or self.version
        if self.card is None:
            return open_model(
                self.content,
                name=name,
                version=version,
                threads=threads,
                source=self.source,
                reference=self.reference,
            )
        members = [member.open(threads=threads) for member in self.members]
        sha256 = self.sha256
        return Composite(
            self.card,
            members,
            name=name or self.card.name,
            version=version or sha256[:12],
            sha256=sha256,
            source=self.source,
        )


def read_model(uri: str) -> ModelFiles:
    """Read the files of a model from where it is stored, without opening it; `uri` and errors as for `load_model`."""
    fetched = fetch_model(uri)
    folder = fetched.folder
    if folder is None:
        return ModelFiles(fetched.content, uri, fetched.name, fetched.version, fetched.reference)
    card = read_composite_card(fetched.content, uri)
    # The files of a version never change, and those below a folder are of its own fingerprint.
    covered = bool(fetched.version) or folder.uri == uri
    members, watched = [], {}
    for member in card.members:
        subject = f"{uri}: its member {member}"
        with _clear_errors(subject):
            if not is_relative(member):
                watched[member] = fingerprint(member)
            elif not covered:
                address = folder.join(member).uri
                watched[address] = fingerprint(address)
            one = fetch_member(member, folder)
        if one.folder is not None:
            raise InputError(f"{subject} is a composite itself; name the members of that one")
        members.append(ModelFiles(one.content, subject, one.name, one.version, one.reference))
    return ModelFiles(fetched.content, uri, fetched.name, fetched.version, b"", card, tuple(members), watched)


def load_model(uri: str, *, name: str | None = None, threads: int | None = None) -> Predictor:
    """Load a model from where it is stored.

    Args:
        uri: an ONNX file, the file of a composite, or a folder with one, on the disk or in S3 (`s3://bucket/path`), or
            a registered model (`models:/name@alias`, `models:/name/version`, `models:/name` for the highest version).
        name: the name to serve it under; by default the registered name, else the card's.
        threads: CPU threads per call; by default as many as this process may use.

    Returns:
        The model. Its version is the registered one, else as for `open_model`.

    Raises:
        InputError: the URI is invalid or the file is not a usable model, or a member of the composite is not.
        NotFoundError: no such registered model, version or alias.
        StorageError: the location cannot be reached or holds no model.
    """
    return read_model(uri).open(name=name, threads=threads)


@contextmanager
def _clear_errors(subject: str) -> Iterator[None]:
    """Let the errors of the block name the composite and the member."""
    try:
        yield
    except (InputError, StorageError) as error:
        raise type(error)(f"{subject}: {error}") from error
