"""The way to a Kubeflow Pipelines server: address, credentials, certificate, version."""

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

from pipelines.cluster.explain import FAULTS, UnreadableAnswerError, explanation, host_of, status_of
from pipelines.environment.errors import ClusterError
from pipelines.environment.settings import Settings
from serving.runtime.errors import InputError

OLDEST = (2, 14)
"""The oldest server that runs the IR: names of Secrets as parameters, titles of tasks, several labels on a pod."""

TIMEOUT_SECONDS = (10.0, 60.0)
"""To connect, and to wait for the next bytes of an answer."""

POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class Client(kfp_server_api.ApiClient):  # type: ignore[misc]
    """The API's client with a time limit on every request, that takes nothing but JSON objects for an answer."""

    def request(self, method: str, url: str, **options: Any) -> Any:
        """Sends one request."""
        options["_request_timeout"] = options.get("_request_timeout") or TIMEOUT_SECONDS
        return super().request(method, url, **options)

    def deserialize(self, response: Any, response_type: Any) -> Any:
        """Reads an answer. Raises UnreadableAnswerError instead of giving out an empty model."""
        try:
            if not isinstance(json.loads(response.data), dict):
                raise ValueError("no JSON object")
            return super().deserialize(response, response_type)
        except (ValueError, TypeError, AttributeError, kfp_server_api.ApiException) as error:
            kind = (response.getheader("Content-Type") or "something").partition(";")[0]
            raise UnreadableAnswerError("broken JSON" if kind == "application/json" else kind) from error


@dataclass(frozen=True, slots=True)
class Cluster:
    """A server that has answered: the services of its API and what it says about itself.

    Attributes:
        settings: where it is and who we are there.
        client: sends the requests of the services.
        namespace: where the runs' pods are; empty when nobody says.
        scope: the namespace as the argument of a request; empty on a server with one user, which refuses it.
        version: its release, such as 2.17.0; empty when it does not say.
    """

    settings: Settings
    client: Client
    namespace: str
    scope: dict[str, str]
    version: str

    @property
    def experiments(self) -> Any:
        """`ExperimentServiceApi`."""
        return kfp_server_api.ExperimentServiceApi(self.client)

    @property
    def runs(self) -> Any:
        """`RunServiceApi`."""
        return kfp_server_api.RunServiceApi(self.client)

    @property
    def recurring_runs(self) -> Any:
        """`RecurringRunServiceApi`."""
        return kfp_server_api.RecurringRunServiceApi(self.client)

    @property
    def pipelines(self) -> Any:
        """`PipelineServiceApi`."""
        return kfp_server_api.PipelineServiceApi(self.client)

    @property
    def uploads(self) -> Any:
        """`PipelineUploadServiceApi`."""
        return kfp_server_api.PipelineUploadServiceApi(self.client)

    def page(self, path: str) -> str:
        """The address of a page of the web interface."""
        return f"{self.settings.kfp_ui.rstrip('/') or host_of(self.settings)}/#/{path}"


def connect(settings: Settings) -> Cluster:
    """The one way to a cluster; asks it who it is before anything else is asked.

    Raises:
        InputError: when no address is set, or a namespace is missing on a server with several users.
        ClusterError: when the server cannot be reached, does not trust us, is not trusted, or is not one we can use.
    """
    if not settings.kfp_host:
        raise InputError("KFP_HOST is not set: export the address of Kubeflow Pipelines; `facet run` needs none")
    if urlsplit(host_of(settings)).username is not None:
        raise InputError("KFP_HOST holds a user or a password: leave them out, and use KFP_TOKEN or KFP_COOKIES")
    client = Client(_configuration(settings), cookie=settings.kfp_cookies or None)
    try:
        health = _health(client, "v2beta1")
    except FAULTS as error:
        if status_of(error) == 404 or isinstance(error, UnreadableAnswerError):
            _refuse_version_1(client, settings)
        raise explanation(settings, error) from error
    # Asked through the web interface the same facts have other names.
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

        # The header is sent only when there is a key; the hook puts the right one there.
        configuration.api_key["authorization"] = ""
        credentials = ServiceAccountTokenVolumeCredentials(settings.kfp_token_file)
        configuration.refresh_api_key_hook = credentials.refresh_api_key_hook
    if settings.kfp_ca_cert:
        _check_certificate(settings.kfp_ca_cert)
        configuration.ssl_ca_cert = settings.kfp_ca_cert
    # A redirect is a login page. A request that was sent is not sent again: it may have made a run.
    configuration.retries = urllib3.Retry(
        total=2, connect=2, read=0, status=0, other=0, redirect=False, respect_retry_after_header=False
    )
    address = urlsplit(host_of(settings))
    if not urllib.request.proxy_bypass(address.hostname or ""):
        configuration.proxy = urllib.request.getproxies().get(address.scheme)
    return configuration


def _check_certificate(file: str) -> None:
    if not Path(file).is_file():
        raise ClusterError(f"KFP_CA_CERT: {file} is no file")
    try:
        ssl.create_default_context(cafile=file)
    except ssl.SSLError as error:
        raise ClusterError(f"KFP_CA_CERT: {file} is no certificate in PEM form") from error


def _health(client: Client, version: str) -> dict[str, Any]:
    path, options = f"/apis/{version}/healthz", {"auth_settings": ["Bearer"], "_return_http_data_only": True}
    health: dict[str, Any] = client.call_api(path, "GET", response_type="object", **options)
    return health


def _refuse_version_1(client: Client, settings: Settings) -> None:
    """Raises ClusterError when the server knows the API of version 1 only."""
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
