"""Connection to a Kubeflow Pipelines server: address, credentials, certificate, version.

Requests go through `kfp_server_api`, the generated client, and not through `kfp.Client` (2.17) around it;
docs/architecture.md, chapter 4, has what was measured. `Client` below can go when that is mended.
"""

import json
import re
import ssl
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import kfp_server_api
import urllib3

from pipelines.cluster.explain import FAULTS, UnreadableResponseError, explanation, host_of, status_of
from pipelines.environment.errors import ClusterError
from pipelines.environment.settings import Settings
from serving.runtime.addresses import public_address
from serving.runtime.errors import InputError

OLDEST = (2, 15)
"""The oldest server that runs the IR: it has optional Secrets. A test holds the fields of the IR to it."""

TIMEOUT_SECONDS = (10.0, 60.0)
"""To connect, and to wait for the next bytes of an answer."""

POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class Client(kfp_server_api.ApiClient):  # type: ignore[misc]
    """The generated client with a time limit on every request, which accepts only JSON objects as responses."""

    def request(self, method: str, url: str, **options: Any) -> Any:
        """Sends one request."""
        options["_request_timeout"] = options.get("_request_timeout") or TIMEOUT_SECONDS
        return super().request(method, url, **options)

    def deserialize(self, response: Any, response_type: Any) -> Any:
        """Reads a response. Raises UnreadableResponseError instead of returning an empty model."""
        try:
            if not isinstance(json.loads(response.data), dict):
                raise ValueError("not a JSON object")
            return super().deserialize(response, response_type)
        except (ValueError, TypeError, AttributeError, kfp_server_api.ApiException) as error:
            kind = (response.getheader("Content-Type") or "an unknown type").partition(";")[0]
            raise UnreadableResponseError("broken JSON" if kind == "application/json" else kind) from error


@dataclass(frozen=True, slots=True)
class Cluster:
    """A server that was reached.

    Attributes:
        settings: its address and our credentials.
        client: the argument of every service in `kfp_server_api`.
        namespace: the namespace of the runs' pods; empty when unknown.
        scope: the namespace as the argument of a request; empty on a server with one user, which rejects it.
        version: its release, such as 2.17.0; empty when it reports none.
    """

    settings: Settings
    client: Client
    namespace: str
    scope: dict[str, str]
    version: str

    @property
    def runs(self) -> Any:
        """`RunServiceApi`."""
        return kfp_server_api.RunServiceApi(self.client)

    def page(self, path: str) -> str:
        """The address of a page of the web interface."""
        return f"{public_address(self.settings.kfp_ui).rstrip('/') or host_of(self.settings)}/#/{path}"


def connect(settings: Settings) -> Cluster:
    """Connects to the server of the settings and checks its version.

    Raises:
        InputError: no address is set, or no namespace on a server with several users.
        ClusterError: the server cannot be reached, rejects the credentials, has an untrusted certificate, or is
            too old.
    """
    if not settings.kfp_host:
        raise InputError("KFP_HOST is not set: export the address of Kubeflow Pipelines, or use `facet run`")
    try:
        has_user = urlsplit(host_of(settings)).username is not None
    except ValueError as error:
        raise InputError(f"KFP_HOST is not an address: {error}; expected such as https://host/pipeline") from error
    if has_user:
        raise InputError("KFP_HOST holds a user or a password: leave them out, and use KFP_TOKEN or KFP_COOKIES")
    client = Client(_configuration(settings), cookie=settings.kfp_cookies or None)
    try:
        health = _health(client, "v2beta1")
    except FAULTS as error:
        if status_of(error) == 404 or isinstance(error, UnreadableResponseError):
            _refuse_version_1(client, settings)
        raise explanation(settings, error) from error
    # The web interface's proxy renames the fields.
    version = str(health.get("apiServerTagName") or health.get("tag_name") or "")
    release = re.match(r"v?(\d+)\.(\d+)", version)
    if release and (int(release[1]), int(release[2])) < OLDEST:
        raise _too_old(settings, version)
    namespace, scope = settings.kfp_namespace, {}
    if health.get("multi_user") or health.get("apiServerMultiUser"):
        namespace = namespace or _own_namespace(settings)
        scope = {"namespace": namespace}
    return Cluster(settings, client, namespace, scope, version if release else "")


def _configuration(settings: Settings) -> Any:
    configuration = kfp_server_api.Configuration(host=host_of(settings))
    configuration.api_key_prefix["authorization"] = "Bearer"
    if settings.kfp_token:
        configuration.api_key["authorization"] = settings.kfp_token
    elif settings.kfp_token_file:
        from kfp.client import ServiceAccountTokenVolumeCredentials

        # The header is sent only when there is a key; the hook sets the current one.
        configuration.api_key["authorization"] = ""
        credentials = ServiceAccountTokenVolumeCredentials(settings.kfp_token_file)
        configuration.refresh_api_key_hook = credentials.refresh_api_key_hook
    if settings.kfp_ca_cert:
        _check_certificate(settings.kfp_ca_cert)
        configuration.ssl_ca_cert = settings.kfp_ca_cert
    # A redirect leads to a login page. A request that was sent is not repeated: it may have created a run.
    configuration.retries = urllib3.Retry(
        total=2, connect=2, read=0, status=0, other=0, redirect=False, respect_retry_after_header=False
    )
    address = urlsplit(host_of(settings))
    if not urllib.request.proxy_bypass(address.hostname or ""):
        configuration.proxy = urllib.request.getproxies().get(address.scheme)
    return configuration


def _check_certificate(file: str) -> None:
    if not Path(file).is_file():
        raise ClusterError(f"KFP_CA_CERT: {file} is not a file")
    try:
        ssl.create_default_context(cafile=file)
    except ssl.SSLError as error:
        raise ClusterError(f"KFP_CA_CERT: {file} is not a certificate in PEM format") from error


def _health(client: Client, version: str) -> dict[str, Any]:
    path, options = f"/apis/{version}/healthz", {"auth_settings": ["Bearer"], "_return_http_data_only": True}
    health: dict[str, Any] = client.call_api(path, "GET", response_type="object", **options)
    return health


def _refuse_version_1(client: Client, settings: Settings) -> None:
    """Raises ClusterError when the server has only the API of version 1."""
    try:
        health = _health(client, "v1beta1")
    except FAULTS:
        return
    raise _too_old(settings, str(health.get("tag_name") or health.get("apiServerTagName") or "version 1"))


def _too_old(settings: Settings, version: str) -> ClusterError:
    oldest = ".".join(str(part) for part in OLDEST)
    return ClusterError(f"{host_of(settings)} is Kubeflow Pipelines {version}: this pipeline needs {oldest} or newer")


def _own_namespace(settings: Settings) -> str:
    if not POD_NAMESPACE.is_file():
        raise InputError(f"KFP_NAMESPACE is not set: {host_of(settings)} has several users, name your namespace")
    return POD_NAMESPACE.read_text().strip()
