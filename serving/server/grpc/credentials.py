"""The certificate of the gRPC server, read again when its files change."""

import logging
import ssl
from pathlib import Path

import grpc

_log = logging.getLogger(__name__)


class Credentials:
    """A certificate and its key; connections that begin after a change of the files get the new one.

    Args:
        cert: PEM file with the certificate and its chain.
        key: PEM file with its private key.

    Raises:
        OSError: the files cannot be read, or do not belong together.
    """

    def __init__(self, cert: Path, key: Path) -> None:
        self._cert, self._key = cert, key
        self._seen = self._stamp()
        # The stubs do not know that None is no change.
        self.server = grpc.dynamic_ssl_server_credentials(self._read(), self._changed)  # type: ignore[arg-type]

    def _changed(self) -> "grpc.ServerCertificateConfiguration | None":
        """Return the new certificate where there is one; called at the begin of every connection."""
        try:
            if (stamp := self._stamp()) == self._seen:
                return None
            self._seen = stamp
            return self._read()
        except OSError as error:
            _log.warning("the certificate stays as it was: %s", error)
            return None

    def _stamp(self) -> list[int]:
        statuses = [file.stat() for file in (self._cert, self._key)]
        return [number for one in statuses for number in (one.st_mtime_ns, one.st_size, one.st_ino)]

    def _read(self) -> "grpc.ServerCertificateConfiguration":
        # gRPC would find out that they do not belong together when the first client comes.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self._cert, self._key, password="")
        return grpc.ssl_server_certificate_configuration([(self._key.read_bytes(), self._cert.read_bytes())])
