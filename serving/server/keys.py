"""API keys: who may predict, and who may load and unload models."""

import hashlib
import hmac
import logging
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from serving.runtime.errors import InputError
from serving.server.file_stamp import stamp_of

# Seconds between two looks at the file.
_INTERVAL_S = 1.0
_MAX_BYTES = 2**20
_LINE = re.compile(r"(?P<name>[\w.-]{1,64}):(?P<admin>admin:)?(?P<digest>[0-9a-fA-F]{64})", re.ASCII)
_EXPECTED = "expected `name:sha256` or `name:admin:sha256`, the digest as 64 hexadecimal digits"
# Browsers send the first with every POST of a page, proxies the others: such a request is not of this machine alone.
_FROM_ELSEWHERE = {"origin", "forwarded", "x-forwarded-for", "via"}

_log = logging.getLogger(__name__)


class Refusal(NamedTuple):
    """Why a request is not answered: whether that is for want of a known key, and what the client is told."""

    unknown: bool
    text: str


@dataclass(frozen=True, slots=True)
class _Key:
    name: str
    admin: bool
    digest: bytes


class Keys:
    """The keys of a file, which may change while the server runs; without a file, nobody needs one to predict.

    A line is `name:sha256`, or `name:admin:sha256` for a key that may also load and unload models; lines that begin
    with # are comments, and a name may have several keys. The digests are plain SHA-256: keys are long random texts,
    which nobody can guess, so that a slow digest would only slow down requests.

    Args:
        file: with the keys.
        loopback: whether only this machine reaches the server; without a file, admin calls need no key then.

    Raises:
        InputError: the file cannot be read, or holds no keys.
    """

    def __init__(self, file: Path | None = None, *, loopback: bool = True) -> None:
        self._file = file
        self._loopback = loopback
        self._keys: tuple[_Key, ...] = ()
        self._seen: tuple[int, ...] = ()
        self._next_look = 0.0
        if file is not None:
            self._seen = stamp_of(file)
            self._keys = _read(file)

    @property
    def needed(self) -> bool:
        """Whether predictions need a key."""
        return self._file is not None

    def permits(self, presented: str | None, *, admin: bool) -> bool:
        """Tell whether a request with this key, None for none, may be answered; `admin` changes what is served."""
        if self._file is None:
            return self._loopback or not admin
        key = self._find(presented)
        return key is not None and (key.admin or not admin)

    def name_of(self, presented: str | None) -> str | None:
        """Return the name of a key; None when it is none of the file's."""
        key = self._find(presented)
        return key.name if key else None

    def _find(self, presented: str | None) -> _Key | None:
        self._look()
        if not presented:
            return None
        digest, found = hashlib.sha256(presented.encode("utf-8", "replace")).digest(), None
        for key in self._keys:  # all of them, so that the time tells nothing
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found

    def _look(self) -> None:
        """Read the file when it has changed; one that cannot be used changes nothing."""
        if self._file is None or (now := time.monotonic()) < self._next_look:
            return
        self._next_look = now + _INTERVAL_S
        if (stamp := stamp_of(self._file)) == self._seen:
            return
        self._seen = stamp
        try:
            self._keys = _read(self._file)
            _log.info("read %d API keys again from %s", len(self._keys), self._file)
        except InputError as error:
            _log.warning("the API keys stay as they were: %s", error)


def presented_key(authorization: str | None, api_key: str | None) -> str | None:
    """Return the key of the header `Authorization: Bearer KEY`, or else of `X-API-Key: KEY`; None for neither."""
    scheme, _, value = (authorization or "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip() or None
    return (api_key or "").strip() or None


def refusal(keys: Keys, headers: Mapping[str, str], client: str, *, admin: bool) -> Refusal | None:
    """Return why a request is not answered, and log it; None when it is.

    Without keys in the server none is needed, but to load and unload models the request must come from this machine.

    Args:
        keys: of the server.
        headers: of the request, their names in small letters.
        client: what the log calls who asks.
        admin: the request changes what is served.
    """
    if not keys.needed and not admin:
        return None
    presented = presented_key(headers.get("authorization"), headers.get("x-api-key"))
    forwarded = not keys.needed and _FROM_ELSEWHERE & headers.keys()
    if keys.permits(presented, admin=admin) and not forwarded:
        return None
    name = keys.name_of(presented)
    if name is None:
        _log.warning("refused a request from %s with %s", client, fingerprint(presented))
    else:
        _log.warning("refused a request from %s, since the key '%s' may not load or unload models", client, name)
    if not keys.needed:
        return Refusal(False, "loading and unloading models over the network needs --api-keys with an admin key")
    if name is not None:
        return Refusal(False, f"the key '{name}' may not load or unload models; use an admin key")
    return Refusal(True, "this server needs an API key: send it as Authorization: Bearer KEY, or as X-API-Key: KEY")


def fingerprint(presented: str | None) -> str:
    """Return what a log may say about a wrong key: the start of its digest."""
    if not presented:
        return "no key"
    return f"a key with the digest {hashlib.sha256(presented.encode('utf-8', 'replace')).hexdigest()[:8]}..."


def _read(file: Path) -> tuple[_Key, ...]:
    try:
        with file.open("rb") as opened:
            data = opened.read(_MAX_BYTES + 1)
        lines = data.decode("utf-8-sig").splitlines()
    except OSError as error:
        raise InputError(f"{file}: the API keys cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{file}: not a text; {_EXPECTED} in each line") from None
    if len(data) > _MAX_BYTES:
        raise InputError(f"{file}: larger than {_MAX_BYTES} bytes; {_EXPECTED} in each line")
    keys: dict[bytes, _Key] = {}
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        match = _LINE.fullmatch(text)
        if match is None:  # the line may hold a key by mistake, so it is not shown
            raise InputError(f"{file}: line {number} is no API key; {_EXPECTED}")
        key = _Key(match["name"], bool(match["admin"]), bytes.fromhex(match["digest"]))
        if key.digest in keys:
            raise InputError(f"{file}: line {number} repeats the key of '{keys[key.digest].name}'; name it once")
        keys[key.digest] = key
    if not keys:
        raise InputError(f"{file}: there is no API key in it; {_EXPECTED} in each line")
    return tuple(keys.values())
