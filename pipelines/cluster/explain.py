"""Failed requests to a Kubeflow Pipelines server as messages for the user."""

import contextlib
import json
import re
import ssl
from collections.abc import Iterator
from typing import Any

import kfp_server_api
import urllib3

from pipelines.environment.errors import ClusterError
from pipelines.environment.settings import Settings

REDIRECTS = (301, 302, 303, 307, 308)
LOGIN = "set KFP_TOKEN, KFP_COOKIES or KF_PIPELINES_SA_TOKEN_PATH"


class UnreadableResponseError(Exception):
    """The response is not the JSON object that the Pipelines API sends."""


FAULTS = (kfp_server_api.ApiException, urllib3.exceptions.HTTPError, UnreadableResponseError, OSError)
"""Everything that a request to the API may raise."""


def host_of(settings: Settings) -> str:
    """The address of the API; https when it has no scheme."""
    host = settings.kfp_host.rstrip("/")
    return host if host.startswith(("http://", "https://")) else f"https://{host}"


@contextlib.contextmanager
def explained(settings: Settings, not_found: str = "") -> Iterator[None]:
    """Turns what a request raises into a ClusterError; see `explanation`."""
    try:
        yield
    except FAULTS as error:
        raise explanation(settings, error, not_found) from error


def transient(settings: Settings, error: Exception) -> bool:
    """Whether a retry may succeed: the server is down or busy, or a token is being renewed."""
    status = status_of(error)
    renewed = bool(settings.kfp_token_file and not settings.kfp_token)
    return not status or status >= 500 or status in (408, 429) or (status == 401 and renewed)


def status_of(error: Exception) -> int:
    """The HTTP status, 0 without a response."""
    return int(getattr(error, "status", None) or 0)


def explanation(settings: Settings, error: Exception, not_found: str = "") -> ClusterError:
    """What went wrong and what to do about it; `not_found` is the message for a 404."""
    host, status = host_of(settings), status_of(error)
    if not_found and status == 404:
        return ClusterError(not_found)
    if status == 401:
        return ClusterError(f"{host}: not logged in (401): {_renew(settings)}")
    if status == 403:
        remedy = f" in the namespace {settings.kfp_namespace}" if settings.kfp_namespace else ": set KFP_NAMESPACE"
        return ClusterError(f"{host}: {_credential(settings)} lacks the permission (403){remedy}")
    if status in REDIRECTS:
        target = (getattr(error, "headers", None) or {}).get("Location", "another page")
        return ClusterError(f"{host} redirects to {target.partition('?')[0]}, a login page: {_renew(settings)}")
    if status:
        return ClusterError(f"{host}: the cluster rejected the request ({status}): {_message(error)}")
    if isinstance(error, UnreadableResponseError):
        return ClusterError(
            f"KFP_HOST {host} responds with {error}, not with the Pipelines API: add the path (often /pipeline); "
            f"behind a login page, {LOGIN}"
        )
    reason = _reason(error)
    if isinstance(reason, ssl.SSLCertVerificationError):
        return ClusterError(f"{host}: its certificate is not trusted: set KFP_CA_CERT to the authority's PEM file")
    if isinstance(reason, urllib3.exceptions.ReadTimeoutError):
        return ClusterError(f"{host} accepted the request and does not respond: try again, or ask its administrator")
    if isinstance(reason, FileNotFoundError | PermissionError):
        return ClusterError(f"KF_PIPELINES_SA_TOKEN_PATH: {settings.kfp_token_file} cannot be read: {reason.strerror}")
    message = re.sub(r"^HTTPS?Connection\(.*?\): ", "", str(reason))
    return ClusterError(f"KFP_HOST {host} cannot be reached: {message}")


def _credential(settings: Settings) -> str:
    if settings.kfp_token:
        return "the token in KFP_TOKEN"
    if settings.kfp_token_file:
        return f"the token in {settings.kfp_token_file}"
    return "the session in KFP_COOKIES" if settings.kfp_cookies else "a user without a token"


def _renew(settings: Settings) -> str:
    if settings.kfp_token or settings.kfp_token_file or settings.kfp_cookies:
        return f"{_credential(settings)} has expired or is for another server"
    return LOGIN


def _reason(error: Any) -> Any:
    """The innermost cause that urllib3 wrapped."""
    while isinstance(inner := getattr(error, "reason", None) or next(iter(error.args), None), Exception):
        error = inner
    return error


def _message(error: Any) -> str:
    body = getattr(error, "body", None) or getattr(error, "reason", None) or str(error)
    with contextlib.suppress(ValueError, TypeError, AttributeError, KeyError):
        response = json.loads(body)
        return str(response.get("message") or response["error_message"])
    return " ".join(str(body).split())[:300]
