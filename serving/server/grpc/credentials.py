"""The certificate of the server in gRPC's form."""

import grpc

from serving.server.tls import Certificate


class Credentials:
    """What gRPC needs to speak TLS; connections that begin after a change of the files get the new certificate.

    Args:
        certificate: of the server.
    """

    def __init__(self, certificate: Certificate) -> None:
        self._certificate = certificate
        self._given = certificate.pem
        # The stubs do not know that None is no change.
        self.server = grpc.dynamic_ssl_server_credentials(self._written(), self._changed)  # type: ignore[arg-type]

    def _changed(self) -> "grpc.ServerCertificateConfiguration | None":
        """Return the new certificate where there is one; called at the begin of every connection."""
        self._certificate.look()
        if self._certificate.pem is self._given:
            return None
        self._given = self._certificate.pem
        return self._written()

    def _written(self) -> "grpc.ServerCertificateConfiguration":
        return grpc.ssl_server_certificate_configuration([self._given])
