"""The loaded models of one source: what is new is loaded beside what answers, and takes its place when it works."""

import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

from serving.runtime.addresses import masked
from serving.runtime.errors import InputError, StorageError
from serving.runtime.load import ModelFiles
from serving.runtime.predictor import Predictor
from serving.runtime.registry import Fingerprint, fingerprint
from serving.server.repository.config import check_labels
from serving.server.repository.source import FoundModel, FoundVersion, Source
from serving.server.repository.status import UNLOADED, ModelStatus, check_name, short_reason

# Files that cannot be used are tried again when they change, and now and then all the same: seconds at most.
_RETRY_S = 60.0

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Version:
    """One version of one model.

    Attributes:
        found: the version in the source.
        name: under which it is served, as far as it is known.
        model: what answers, None before it is loaded.
        digest: of the files of `model`.
        tried: fingerprint of the files that were tried last, and those of the members.
        fault: why these cannot be used, "" when they are `model`.
        said: the fault that the log had last.
        unread: they could not be read, which says nothing of them.
        failures: how often they could not be used.
        retry_at: when they are tried again although they are the same.
    """

    found: str
    name: str
    model: Predictor | None = None
    digest: str = ""
    tried: tuple[Fingerprint, Mapping[str, Fingerprint]] | None = None
    fault: str = ""
    said: str = ""
    unread: bool = False
    failures: int = 0
    retry_at: float = 0.0

    @property
    def status(self) -> ModelStatus:
        if self.model is not None:
            return ModelStatus(self.model.name, self.model.version, "READY", self.fault)
        return ModelStatus(self.name, self.found, "UNAVAILABLE" if self.fault else "LOADING", self.fault)


@dataclass(slots=True)
class _Model:
    """A model of a source.

    Attributes:
        versions: in the order in which they are wanted.
        fault: why nothing can be loaded, "" for no reason.
        passed_over: as in `FoundModel`.
        pending: it is new, and will be loaded.
    """

    versions: list[_Version] = field(default_factory=list)
    fault: str = ""
    passed_over: Mapping[str, str] = field(default_factory=dict)
    pending: bool = False

    def statuses(self, name: str) -> Iterator[ModelStatus]:
        """Yield the states of its versions, with the whole reasons."""
        if self.pending:
            yield ModelStatus(name, "", "LOADING")
        if self.fault and all(version.model is None for version in self.versions):
            yield ModelStatus(name, "", "UNAVAILABLE", self.fault)
        for version in self.versions:
            status = version.status
            yield replace(status, reason=self.fault) if self.fault and status.state == "READY" else status
        for folder, reason in self.passed_over.items():
            yield ModelStatus(name, folder, "UNAVAILABLE", reason)


class LoadedModels:
    """The models of one source. All methods belong to one thread.

    Attributes:
        source: where they come from.
        fault: why the source could not be looked at, "" when it could.

    Args:
        source: where they come from.
        changed: called when what is loaded has changed, and before something is loaded for the first time.
        elsewhere: returns the model of a name, a version and the digest of its files, where a source has loaded it.
    """

    def __init__(
        self, source: Source, changed: Callable[[], None], elsewhere: Callable[[str, str, str], Predictor | None]
    ) -> None:
        self.source = source
        self.fault = ""
        self._changed = changed
        self._elsewhere = elsewhere
        self._models: dict[str, _Model] = {}

    @property
    def models(self) -> list[Predictor]:
        """The models that answer, the default version of each name first."""
        return [version.model for version in self._versions if version.model is not None]

    @property
    def statuses(self) -> list[ModelStatus]:
        """What is loaded, what loads and what cannot be loaded."""
        found = (status for name, one in self._models.items() for status in one.statuses(name))
        return [replace(status, reason=short_reason(status.reason, self.source.uri)) for status in found]

    @property
    def failure(self) -> str:
        """The whole reason why a version cannot be loaded; "" for none."""
        return next((version.fault for version in self._versions if version.fault), "")

    def find(self, name: str, version: str, digest: str) -> Predictor | None:
        """Return the model of this name and version that was loaded from files of this digest, where there is one."""
        for one in self._versions:
            if one.model is not None and (one.model.name, one.model.version, one.digest) == (name, version, digest):
                return one.model
        return None

    def refresh(self, unloaded: Collection[str] = (), again: str = "") -> None:
        """Look at the source and load what is new.

        What cannot be loaded is said in the log and in `statuses`; what was loaded before it stays.

        Args:
            unloaded: names that are not to be loaded.
            again: a name that is tried at once, whatever it failed by before.
        """
        try:
            found = self.source.look()
            was = any(one.versions for one in self._models.values())
            if was and not any(one.versions or one.fault for one in found):
                raise StorageError(f"{self.source.uri} holds no model any longer")
        except Exception as error:  # a server may answer anything
            self.fault = _line(error)
            if self._models:
                _log.warning("%s; what is loaded keeps answering", self.fault)
            return
        self.fault = ""
        for name in self._models.keys() - {model.name for model in found}:
            _log.info("%s has no model %s any longer", self.source.uri, name)
        self._models = {model.name: self._models.get(model.name) or _Model() for model in found}
        for model in found:
            self._note(model, self._models[model.name], unloaded)
        for model in found:
            mine = self._models[model.name]
            names = {model.name, *(version.name for version in mine.versions)}
            if not model.fault and names.isdisjoint(unloaded):
                self._refresh_model(model, mine, again=again != "" and again in names)
        self._changed()

    def _note(self, found: FoundModel, mine: _Model, unloaded: Collection[str]) -> None:
        """Take over what a look says of a model before anything of it is read."""
        if found.fault and found.fault != mine.fault:
            kept = "; what is loaded of it keeps answering" if any(one.model for one in mine.versions) else ""
            _warn(f"model {found.name} cannot be loaded: {found.fault}{kept}")
        for folder, reason in found.passed_over.items():
            if mine.passed_over.get(folder) != reason:
                _warn(f"model {found.name}: {reason}")
        mine.fault, mine.passed_over = found.fault, found.passed_over
        mine.pending = bool(found.versions) and not (found.fault or mine.versions or found.name in unloaded)

    def check(self, name: str) -> None:
        """Raise StorageError or InputError where files of a model could not be read or cannot be used."""
        for one in self._models.values():
            for version in one.versions:
                if version.name == name and version.fault not in ("", UNLOADED):
                    reason = short_reason(version.fault, self.source.uri)
                    raise (StorageError if version.unread else InputError)(f"model '{name}' cannot be loaded: {reason}")
        if fault := self._models.get(name, _Model()).fault:
            raise InputError(f"model '{name}' cannot be loaded: {short_reason(fault, self.source.uri)}")

    def unload(self, name: str) -> None:
        """Let go of all versions of a model."""
        for version in self._versions:
            if version.name == name:
                version.model, version.tried, version.fault = None, None, UNLOADED

    @property
    def _versions(self) -> Iterator[_Version]:
        return (version for model in self._models.values() for version in model.versions)

    def _refresh_model(self, found: FoundModel, mine: _Model, *, again: bool) -> None:
        """Load the wanted versions; those before them stay until there is one to take their place."""
        before = mine.versions
        mine.pending = False
        wanted: list[_Version] = []
        for candidate in found.versions:
            if sum(version.model is not None for version in wanted) == found.wanted:
                break
            version = next((one for one in before if one.found == candidate.version), None)
            version = version or _Version(candidate.version, found.name)
            wanted.append(version)
            mine.versions = wanted + [one for one in before if one not in wanted]
            self._refresh_version(version, candidate, found.name, again=again)
        if not found.versions or any(version.model is not None for version in wanted):
            mine.versions = wanted
        self._changed()

    def _refresh_version(self, version: _Version, found: FoundVersion, name: str, *, again: bool) -> None:
        watched = version.tried[1] if version.tried else {}
        try:
            now = found.fingerprint, {uri: fingerprint(uri) for uri in watched}
            if now == version.tried and not (version.fault and (again or time.monotonic() >= version.retry_at)):
                return
            version.tried = now
            if version.model is None:
                version.fault = ""
                self._changed()
            files = found.read()
            version.tried = found.fingerprint, files.watched
            model = self._open(version, found, name, files)
            check_name(model.name)
            check_labels(model, found.labels)
            version.model, version.digest = model, files.digest
        except Exception as error:  # a file may fail in any way, and a server may answer anything
            self._failed(version, error)
            return
        version.name, version.fault, version.said, version.failures = model.name, "", "", 0

    def _open(self, version: _Version, found: FoundVersion, name: str, files: ModelFiles) -> Predictor:
        """Return the model of these files: the one that answers already, where they are the same."""
        number = found.version or files.version or files.sha256[:12]
        old = version.model
        if old is not None and old.version == number and version.digest == files.digest:
            return old
        return self._elsewhere(name, number, files.digest) or files.open(name=name or None, version=number)

    def _failed(self, version: _Version, error: Exception) -> None:
        fault = _line(error)
        version.unread = transient = isinstance(error, StorageError)
        pause = 0.0 if transient else min(_RETRY_S, 2.0**version.failures)
        version.failures += 1
        version.retry_at = time.monotonic() + pause
        ends_the_server = self.source.single and version.model is None
        if (version.said != fault or transient) and not ends_the_server:
            kept = f"; version {version.model.version} keeps answering" if version.model is not None else ""
            _warn(f"model {version.name or self.source.uri} cannot be loaded: {fault}{kept}")
        version.fault = version.said = fault


def _warn(line: str) -> None:
    """Log a warning that is a kind of its own: of one kind the log has one a minute, and each model is said."""
    _log.warning(line)


def _line(error: Exception) -> str:
    """Return an error as one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if isinstance(error, InputError | StorageError) else masked(f"{type(error).__name__}: {text}")
