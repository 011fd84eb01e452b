"""The certificate of a server that speaks TLS, read again when its files change."""

import asyncio
import logging
import ssl
import threading
from pathlib import Path

from serving.runtime.errors import InputError
from serving.server.file_stamp import stamp_of

# Seconds between two looks at the files.
_INTERVAL_S = 10.0

_log = logging.getLogger(__name__)


class Certificate:
    """A certificate and its key; connections that begin after a change of the files get the new one.

    Args:
        cert: PEM file with the certificate and its chain.
        key: PEM file with its private key.

    Attributes:
        context: for the connections; TLS 1.2 or newer.
        pem: the bytes of the key and of the certificate.

    Raises:
        InputError: the files cannot be read or do not belong together.
    """

    def __init__(self, cert: Path, key: Path) -> None:
        self._cert, self._key = cert, key
        self._lock = threading.Lock()
        self._seen = stamp_of(cert, key)
        self.context, self.pem = self._load()
        self._watch: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to look at the files."""
        self._watch = asyncio.create_task(self._look())

    async def stop(self, seconds: float) -> None:
        """End looking."""
        if self._watch is not None:
            self._watch.cancel()

    def look(self) -> None:
        """Read the files again if they have changed; any thread may call. Files that cannot be used change nothing."""
        with self._lock:
            if (stamp := stamp_of(self._cert, self._key)) == self._seen:
                return
            self._seen = stamp
            try:
                _, pem = self._load()  # in a context of its own: half a change must not spoil the one in use
                self.context.load_cert_chain(self._cert, self._key, password="")
            except (InputError, OSError) as error:
                _log.warning("the certificate stays as it was: %s", error)
            else:
                self.pem = pem
                _log.info("read the certificate again from %s", self._cert)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(_INTERVAL_S)
            self.look()

    def _load(self) -> tuple[ssl.SSLContext, tuple[bytes, bytes]]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        pem = _read(self._key), _read(self._cert)
        try:
            # Without a password of its own, OpenSSL would ask for one on the terminal.
            context.load_cert_chain(self._cert, self._key, password="")
        except ssl.SSLError as error:
            raise InputError(self._fault(error)) from None
        context.set_alpn_protocols(["http/1.1"])
        return context, pem

    def _fault(self, error: ssl.SSLError) -> str:
        """Return what is wrong with the files: of most things OpenSSL says not even in which it is."""
        if error.reason == "KEY_VALUES_MISMATCH":
            return f"{self._key}: not the key of the certificate {self._cert}; give two that belong together"
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(self._cert)
        except ssl.SSLError:
            return f"{self._cert}: not a certificate; expected PEM, which begins with -----BEGIN CERTIFICATE-----"
        return f"{self._key}: not a private key without a password; expected PEM, with -----BEGIN PRIVATE KEY-----"


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from None
