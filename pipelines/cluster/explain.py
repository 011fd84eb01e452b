"""What is wrong with a Kubeflow Pipelines server or with the way in, in words for the user."""

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


class UnreadableAnswerError(Exception):
    """A server answered something else than the JSON object that the Pipelines API answers."""


FAULTS = (kfp_server_api.ApiException, urllib3.exceptions.HTTPError, UnreadableAnswerError, OSError)
"""Everything that a request to the API may raise."""


def host_of(settings: Settings) -> str:
    """The address of the API, https where the user named no scheme."""
    host = settings.kfp_host.rstrip("/")
    return host if host.startswith(("http://", "https://")) else f"https://{host}"


@contextlib.contextmanager
def explained(settings: Settings, unknown: str = "") -> Iterator[None]:
    """Turns what a request raises into a ClusterError; see `explanation`."""
    try:
        yield
    except FAULTS as error:
        raise explanation(settings, error, unknown) from error


def passing(settings: Settings, error: Exception) -> bool:
    """Whether the same request may succeed a little later: the server is down, busy, or a token is being renewed."""
    status = status_of(error)
    return not status or status >= 500 or status in (408, 429) or (status == 401 and reads_token_file(settings))


def reads_token_file(settings: Settings) -> bool:
    """Whether the token comes from a file, which something renews."""
    return bool(settings.kfp_token_file and not settings.kfp_token)


def status_of(error: Exception) -> int:
    """The HTTP status, 0 when there was no answer."""
    return int(getattr(error, "status", None) or 0)


def explanation(settings: Settings, error: Exception, unknown: str = "") -> ClusterError:
    """What went wrong and what to do about it; `unknown` is what to say when the server knows no such thing."""
    host, status = host_of(settings), status_of(error)
    if unknown and status == 404:
        return ClusterError(unknown)
    if status == 401:
        return ClusterError(f"{host}: not logged in (401): {_renew(settings)}")
    if status == 403:
        where = (
            f" in the namespace {settings.kfp_namespace}" if settings.kfp_namespace else ": set KFP_NAMESPACE to yours"
        )
        return ClusterError(f"{host}: {_credential(settings)} may not do this (403){where}")
    if status in REDIRECTS:
        target = (getattr(error, "headers", None) or {}).get("Location", "another page")
        return ClusterError(f"{host} sends us to {target.partition('?')[0]}, a login page: {_renew(settings)}")
    if status:
        return ClusterError(f"{host}: the cluster refused ({status}): {_message(error)}")
    if isinstance(error, UnreadableAnswerError):
        return ClusterError(
            f"KFP_HOST {host} answers with {error}, not with the Pipelines API: add the path (often /pipeline); "
            f"where a login page stands before it, {LOGIN}"
        )
    reason = _reason(error)
    if isinstance(reason, ssl.SSLCertVerificationError):
        return ClusterError(f"{host}: its certificate is not trusted: set KFP_CA_CERT to the authority's PEM file")
    if isinstance(reason, urllib3.exceptions.ReadTimeoutError):
        return ClusterError(f"{host} has taken the request and does not answer: try again, or ask who runs it")
    if isinstance(reason, FileNotFoundError | PermissionError):
        return ClusterError(f"KF_PIPELINES_SA_TOKEN_PATH: {settings.kfp_token_file} cannot be read: {reason.strerror}")
    said = re.sub(r"^HTTPS?Connection\(.*?\): ", "", str(reason))
    return ClusterError(f"KFP_HOST {host} cannot be reached: {said}")


def _credential(settings: Settings) -> str:
    if settings.kfp_token:
        return "the token in KFP_TOKEN"
    if settings.kfp_token_file:
        return f"the token in {settings.kfp_token_file}"
    return "the session in KFP_COOKIES" if settings.kfp_cookies else "a user without a token"


def _renew(settings: Settings) -> str:
    if settings.kfp_token or settings.kfp_token_file or settings.kfp_cookies:
        return f"{_credential(settings)} has expired or is not for this server"
    return LOGIN


def _reason(error: Any) -> Any:
    """The innermost cause that urllib3 wrapped."""
    while isinstance(inner := getattr(error, "reason", None) or next(iter(error.args), None), Exception):
        error = inner
    return error


def _message(error: Any) -> str:
    body = getattr(error, "body", None) or getattr(error, "reason", None) or str(error)
    with contextlib.suppress(ValueError, TypeError, AttributeError, KeyError):
        answer = json.loads(body)
        return str(answer.get("message") or answer["error_message"])
    return " ".join(str(body).split())[:300]
