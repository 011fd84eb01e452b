"""What a source of models has at a moment, and the source of a single model."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from serving.runtime.load import ModelFiles, read_model
from serving.runtime.registry import Fingerprint, fingerprint, name_of


@dataclass(frozen=True, slots=True)
class FoundVersion:
    """A version of a model as a source has it.

    Attributes:
        version: to serve it as; "" for the one that the model itself has.
        fingerprint: changes with its files.
        read: reads them; raises as `read_model`.
        labels: what files of labels say, see `check_labels`.
    """

    version: str
    fingerprint: Fingerprint
    read: Callable[[], ModelFiles]
    labels: Mapping[str, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FoundModel:
    """A model as a source has it.

    Attributes:
        name: to serve it under; "" for the one that the model itself has.
        versions: in the order in which they are wanted; the first one that can be loaded is the default.
        wanted: so many of them at most, None for all.
        fault: why none can be loaded, "" for no reason; what is loaded of it stays.
        passed_over: folder -> why it is no version although it looks like one; "" for the model's own.
    """

    name: str
    versions: Sequence[FoundVersion]
    wanted: int | None = None
    fault: str = ""
    passed_over: Mapping[str, str] = field(default_factory=dict)


class Source(Protocol):
    """Where models come from.

    Attributes:
        uri: its address.
        single: it has one model, which must load when the server starts.
    """

    uri: str
    single: bool

    def look(self) -> list[FoundModel]:
        """Return what is there now; cheap, no model is read.

        Raises:
            InputError: the address is wrong.
            StorageError: it cannot be reached.
        """


class SingleModel:
    """A model at a URI of `load_model`, under a name of its own or `name`."""

    single = True

    def __init__(self, uri: str, name: str | None = None) -> None:
        self.uri = uri
        self._name = name or name_of(uri)

    def look(self) -> list[FoundModel]:
        """See `Source`."""
        return [FoundModel(self._name, [FoundVersion("", fingerprint(self.uri), partial(read_model, self.uri))])]
