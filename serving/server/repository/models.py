"""The models of a server by name and version, and the thread that loads them."""

import asyncio
import logging
import math
import queue
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future

from serving.runtime.errors import InputError, NotFoundError, NotReadyError, StorageError
from serving.runtime.machine import release_memory
from serving.runtime.predictor import Predictor
from serving.server.repository.loaded import LoadedModels
from serving.server.repository.source import Source
from serving.server.repository.status import UNLOADED, ModelStatus, default_name, loadable, short_reason

# What clients are told to wait for a model where the server does not look again by itself.
_UNPOLLED_S = 60

_log = logging.getLogger(__name__)


class ModelRepository:
    """The models of a server. One thread loads them while others read.

    Who has got a model may use it for as long as it likes; one that has been replaced is let go of after that. The
    first model is the default, and the first version of a name is the default version of that name. Where all come from
    repositories, the default is the only one that can be loaded, and it stays that when others come later.

    Attributes:
        failure: why the server cannot start: a model that was asked for cannot be loaded. "" for no reason.

    Args:
        models: those that are loaded already; they stay as they are.
        sources: where more come from.
        poll_s: seconds between two looks at the sources; 0 looks once.
        served: called with every model that begins to answer.
        started: called when every source has been looked at.
    """

    def __init__(
        self,
        *models: Predictor,
        sources: Sequence[Source] = (),
        poll_s: float = 0.0,
        served: Callable[[Predictor], None] = lambda model: None,
        started: Callable[[], None] = lambda: None,
    ) -> None:
        self.failure = ""
        self._poll_s = poll_s if sources else 0.0
        self._on_served = served
        self._on_started = started
        self._fixed = models
        self._sources = [LoadedModels(source, self._publish, self._find) for source in sources]
        self._unloaded: set[str] = set()
        self._served: dict[str, dict[str, Predictor]] = {}
        # The name of the default model: "" while it is not known, None where there is none.
        self._default: str | None = ""
        self._statuses: tuple[ModelStatus, ...] = ()
        self._loading = bool(sources)
        self._has_loaded = False
        self._next_look = 0.0
        # Name and version of which a later source has other files -> that source.
        self._clashes: dict[tuple[str, str], str] = {}
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="models", daemon=True)
        self._begun = threading.Lock()
        self._publish()

    @property
    def models(self) -> tuple[Predictor, ...]:
        """The models that answer, the default first."""
        return tuple(model for versions in self._served.values() for model in versions.values())

    @property
    def loading(self) -> bool:
        """Whether a source has not been looked at yet."""
        return self._loading

    @property
    def unready(self) -> str:
        """Why no request can be answered; "" when a model answers, or all were unloaded by request."""
        if self._loading:
            return "a model is still loading"
        if self._served or (self._statuses and all(status.reason == UNLOADED for status in self._statuses)):
            return ""
        reasons = [status.reason for status in self._statuses if status.failed]
        return f"no model can be loaded: {reasons[0]}" if reasons else "there is no model yet"

    @property
    def names(self) -> list[str]:
        """The names of the models that answer, the default first."""
        return list(self._served)

    @property
    def failures(self) -> int:
        """How many sources cannot be read and versions cannot be loaded at this moment."""
        return sum(status.failed for status in self._statuses) + sum(bool(source.fault) for source in self._sources)

    def versions(self, name: str) -> list[str]:
        """Return the versions of a name that answer, its default first."""
        return list(self._served.get(name, {}))

    def index(self) -> list[ModelStatus]:
        """Return what answers, what loads and what cannot be loaded."""
        return list(self._statuses)

    def get(self, name: str = "", version: str = "") -> Predictor:
        """Return a model: by default the default one, or the first version of `name`.

        The default is the first model that was given; see above where none was.

        Raises:
            InputError: there is no default; the message lists the names.
            NotFoundError: there is no such name or version; the message lists those that answer.
            NotReadyError: it is not loaded yet, or its files cannot be used.
        """
        if not name:
            if self._default is None:
                if self._loading:
                    raise NotReadyError("a model is still loading; try again soon")
                names = loadable(self._statuses)
                raise InputError(f"this server has several models; name one of {_listed(names)}")
            name = self._default
        versions = self._served.get(name, {})
        model = versions.get(version) if version else next(iter(versions.values()), None)
        if model is None:
            raise self._absent(name, version)
        return model

    async def load(self, name: str) -> None:
        """Look at the sources and load a model, also one that was unloaded or could not be loaded before.

        Raises:
            NotFoundError: no source has a model of this name.
            InputError: its files cannot be used, or a version of them; what was loaded before goes on answering.
            StorageError: they cannot be reached.
        """
        await self._in_thread(lambda: self._load(name))

    async def unload(self, name: str) -> None:
        """Let go of all versions of a model until it is loaded again; requests that have it end with it.

        Raises NotFoundError where there is no model of this name.
        """
        await self._in_thread(lambda: self._unload(name))

    def begin(self) -> None:
        """Start to load, in the background."""
        with self._begun:
            if not self._thread.ident:
                self._thread.start()

    async def start(self) -> None:
        """Start to load, in the background."""
        self.begin()

    async def stop(self, seconds: float) -> None:
        """Load no more; what is loading at this moment is left behind."""
        self._jobs.put(None)

    def _work(self) -> None:
        if self._sources:
            self._refresh(first=True)
        if self.failure:
            return
        self._loading = False
        self._publish()
        self._on_started()
        self._next_look = time.monotonic() + self._poll_s
        if self._sources and not self._served:
            self._say_empty()
        while True:
            if self._has_loaded:
                self._has_loaded = False
                release_memory()
            try:
                left = max(0.0, self._next_look - time.monotonic()) if self._poll_s else None
                job = self._jobs.get(timeout=left)
            except queue.Empty:
                self._refresh()
                self._next_look = time.monotonic() + self._poll_s
                continue
            if job is None:
                return
            job()

    async def _in_thread(self, function: Callable[[], None]) -> None:
        self.begin()
        done: Future[None] = Future()

        def job() -> None:
            if done.set_running_or_notify_cancel():
                try:
                    function()
                except Exception as error:
                    done.set_exception(error)
                else:
                    done.set_result(None)

        self._jobs.put(job)
        await asyncio.wrap_future(done)

    def _refresh(self, *, first: bool = False) -> None:
        for source in self._sources:
            try:
                source.refresh(self._unloaded)
            except Exception:  # the thread must go on
                _log.exception("the models of %s could not be looked at", source.source.uri)
            if first and (fault := source.fault or self._fault(source)):
                self.failure = fault
                return

    def _fault(self, source: LoadedModels) -> str:
        """Return why the one model of a source does not answer; "" when it does, or when there may be several."""
        if not source.source.single:
            return ""
        for model in source.models:
            if self.get(model.name, model.version).sha256 != model.sha256:
                return f"model '{model.name}' version '{model.version}' is given twice; name it once"
        return source.failure

    def _say_empty(self) -> None:
        addresses = ", ".join(source.source.uri for source in self._sources)
        again = f"every {self._poll_s:g} s" if self._poll_s else "only when one is loaded by name, as --poll-s is 0"
        _log.warning("there is no model yet that answers in %s; looking again %s", addresses, again)

    @property
    def _again_s(self) -> int:
        """Whole seconds until the sources are looked at again."""
        return max(1, math.ceil(self._next_look - time.monotonic())) if self._poll_s else _UNPOLLED_S

    def _load(self, name: str) -> None:
        known = [source for source in self._sources if name in {status.name for status in source.statuses}]
        self._unloaded.discard(name)
        for source in known or [source for source in self._sources if not source.source.single]:
            source.refresh(self._unloaded, again=name)
            if source.fault:
                raise StorageError(short_reason(source.fault, source.source.uri))
            source.check(name)
        self._publish()
        found = [status for status in self._statuses if status.name == name]
        if not found:
            raise self._unknown(name)
        reasons = [status.reason for status in found if status.failed]
        if reasons and (name not in self._served or any(name == one for one, _ in self._clashes)):
            raise InputError(f"model '{name}' cannot be loaded: {reasons[0]}")

    def _unload(self, name: str) -> None:
        if all(status.name != name for status in self._statuses):
            raise self._unknown(name)
        self._unloaded.add(name)
        for source in self._sources:
            source.unload(name)
        self._publish()
        _log.info("model %s is unloaded", name)

    def _publish(self) -> None:
        """Let the models that are loaded now answer, all at once."""
        served: dict[str, dict[str, Predictor]] = {}
        statuses: list[ModelStatus] = []
        clashes: dict[tuple[str, str], str] = {}
        for model in self._fixed:
            if model.name in self._unloaded:
                statuses.append(ModelStatus(model.name, model.version, "UNAVAILABLE", UNLOADED))
            else:
                served.setdefault(model.name, {})[model.version] = model
                statuses.append(ModelStatus(model.name, model.version, "READY"))
        for source in self._sources:
            for model in source.models:
                first = served.setdefault(model.name, {}).setdefault(model.version, model)
                if first.sha256 != model.sha256:
                    reason = "another source has this version with other files, and those answer"
                    clashes[model.name, model.version] = source.source.uri
                    statuses.append(ModelStatus(model.name, model.version, "UNAVAILABLE", reason))
            statuses += source.statuses
        for (name, version), uri in clashes.items() - self._clashes.items():
            _log.warning(f"{uri} has other files of model {name} version {version}, which another source has too")
        self._clashes = clashes
        self._default = self._choose_default(statuses)
        before, self._served = self.models, served
        self._statuses = tuple(statuses)
        for model in self.models:
            if model not in before and model not in self._fixed:
                self._has_loaded = True
                self._on_served(model)
        for model in before:
            if model not in self.models:
                # When its last request has ended.
                weakref.finalize(model, self._jobs.put, release_memory).atexit = False

    def _choose_default(self, statuses: Sequence[ModelStatus]) -> str | None:
        names = list(dict.fromkeys(status.name for status in statuses))
        if self._fixed or any(source.source.single for source in self._sources):
            return names[0] if names else ""
        if self._loading and len(self._sources) > 1:
            return ""  # the others may have models too
        default = default_name(statuses, "" if self._loading else self._default)
        answering = {status.name for status in statuses if status.state == "READY"}
        if default and len(answering) > 1 and len(self._served) == 1:
            _log.info("requests that name no model still go to %s, until this server starts again", default)
        return default

    def _find(self, name: str, version: str, digest: str) -> Predictor | None:
        found = (source.find(name, version, digest) for source in self._sources)
        return next((model for model in found if model is not None), None)

    def _absent(self, name: str, version: str) -> NotFoundError | NotReadyError:
        """Return why there is no such model. `name` is "" while not even the name of the default is known."""
        subject = f"model '{name}'" if name else "the model"
        statuses = [status for status in self._statuses if status.name == name]
        if version:
            statuses = [status for status in statuses if status.version in ("", version)]
        for status in statuses:
            if status.reason == UNLOADED:
                return NotFoundError(f"{subject} is unloaded; load it first")
            if status.state == "UNAVAILABLE":
                return NotReadyError(f"{subject} cannot be loaded: {status.reason}", self._again_s)
        if self._loading or any(status.state == "LOADING" for status in statuses):
            return NotReadyError(f"{subject} is still loading; try again soon")
        if name in self._served:
            here = _listed(self.versions(name))
            return NotFoundError(f"{subject} has no version '{version}' here; it has {here}")
        if not name:
            return NotReadyError(self.unready or "a model is still loading; try again soon", self._again_s)
        return self._unknown(name)

    def _unknown(self, name: str) -> NotFoundError:
        here = f"this server has {_listed(self.names)}" if self._served else "this server has no model"
        return NotFoundError(f"there is no model '{name}' here; {here}")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
