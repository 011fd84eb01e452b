"""What a server says of the versions of its models: their states, and the reasons as clients may read them."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from serving.runtime.errors import InputError

UNLOADED = "it is unloaded"

_SERVER = re.compile(r"https?://[^\s'\",;]+")
_PATH = re.compile(r"(?:(?:s3|file|mlflow-artifacts):/|(?<![\w.:/-]))/[^\s'\",;]*")


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """A version of a model in a server.

    Attributes:
        name: of the model, "" while it is not known.
        version: "" while it is not known.
        state: READY answers requests.
        reason: why it does not, or why newer files of it cannot be used; "" for none. Without paths of the server.
    """

    name: str
    version: str
    state: Literal["READY", "LOADING", "UNAVAILABLE"]
    reason: str = ""

    @property
    def failed(self) -> bool:
        """Whether something cannot be used."""
        return self.reason not in ("", UNLOADED)


def loadable(statuses: Iterable[ModelStatus]) -> list[str]:
    """Return the names that answer, may soon, or would if they had not been unloaded by request."""
    usable = (one for one in statuses if one.state != "UNAVAILABLE" or one.reason == UNLOADED)
    return list(dict.fromkeys(one.name for one in usable))


def default_name(statuses: Sequence[ModelStatus], before: str | None) -> str | None:
    """Return the name that answers where a request names none and nobody has chosen one; "" for none yet.

    It is the only one that can be loaded; None where there are several. What was the default `before` stays it.
    """
    usable = loadable(statuses)
    if before in usable:
        return before
    if len(usable) > 1:
        return None
    names = {status.name for status in statuses}
    # One that cannot be loaded says why.
    return usable[0] if usable else names.pop() if len(names) == 1 else ""


def short_reason(text: str, uri: str) -> str:
    """Return an error about what lies at `uri` as clients may read it; the log has it whole.

    Paths are as they are below `uri`, others are cut to their last part, and addresses of servers are left out. So is
    what onnxruntime says beyond that it cannot load a file.
    """
    for address in dict.fromkeys((uri.rstrip("/"), uri.removeprefix("file://").rstrip("/"))):
        text = re.sub(rf"(?<![\w./-]){re.escape(address)}/", "", text)
        if not address.startswith("models:"):
            text = text.replace(address, address.rpartition("/")[2])
    text = _SERVER.sub("***", text)
    text = _PATH.sub(lambda match: match[0].rstrip("/").rpartition("/")[2], text)
    return text.partition(": [ONNXRuntimeError]")[0]


def check_name(name: str) -> str:
    """Return the name of a model; InputError where no path of a request can hold it."""
    if not name.strip() or name in (".", "..") or "/" in name or not name.isprintable():
        raise InputError(f"'{name}' cannot be the name of a served model; expected one without '/', such as faces")
    return name
