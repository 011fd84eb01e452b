"""The MLflow server: which one it is, a client that waits for it, and what its errors mean.

MLflow takes seconds to import, so it is imported inside the functions and only when tracking is on.
"""

import logging
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, cast

from components.shared.variables import STORAGE
from serving.runtime.addresses import masked, public_address, separate_credentials
from serving.runtime.errors import NoAnswerError, StorageError
from serving.runtime.patience import first_cause, insist, patience
from serving.runtime.registry import sign_in

if TYPE_CHECKING:
    from mlflow import MlflowClient

OWN_SERVER = {
    name: f"FACET_{name}" for name in ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
}
"""MLflow's variables that a step of Kubeflow Pipelines gets from our Secret -> the name that they have in its pod.

The MLflow plugin of Kubeflow Pipelines puts variables with MLflow's names there, and of two variables with one name
only one arrives.
"""

_OF_THE_OTHER_SERVER = ("MLFLOW_TRACKING_AUTH", "MLFLOW_TRACKING_TOKEN", "MLFLOW_WORKSPACE", *OWN_SERVER)
_UPLOADS = ("log_artifact", "log_artifacts", "log_text", "log_model_artifacts")
_REFUSED = ("UNAUTHENTICATED", "PERMISSION_DENIED", "CUSTOMER_UNAUTHORIZED")
_HINT = "check MLFLOW_TRACKING_URI"

T = TypeVar("T")


def tracking_is_on() -> bool:
    """Return whether there is an MLflow server, and make the one of our Secret that of this process.

    The Secret wins over what the plugin of Kubeflow Pipelines has set: the pages, the registry and the endpoint's
    models are there. The credentials of another server are removed, so that none gets those of the other.
    """
    own = {name: os.environ[variable] for name, variable in OWN_SERVER.items() if os.environ.get(variable)}
    if uri := own.get("MLFLOW_TRACKING_URI"):
        if os.environ.get("MLFLOW_TRACKING_URI", "").rstrip("/") != uri.rstrip("/"):
            for name in _OF_THE_OTHER_SERVER:
                os.environ.pop(name, None)
        os.environ.update(own)
    separate_credentials(os.environ)
    return bool(os.environ.get("MLFLOW_TRACKING_URI"))


def server_name() -> str:
    """Return the server for messages."""
    return f"MLflow at {public_address(os.environ.get('MLFLOW_TRACKING_URI', ''))}"


def mlflow_client() -> "MlflowClient":
    """Return a client of the server in `MLFLOW_TRACKING_URI` that waits for it as long as patience lasts.

    Every method raises NoAnswerError when nobody has answered in that time, and StorageError when the server refuses
    the credentials, when the address is wrong, or when the store of the artifacts cannot be used. MLflow's own errors
    are those that the server answers. Its progress messages are silenced.
    """
    seconds = patience()
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = str(max(1, round(seconds)))
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    for name, value in STORAGE.items():
        os.environ.setdefault(name, value)
    _limit_s3(seconds)
    from mlflow import MlflowClient

    for name in ("mlflow", "urllib3.connectionpool"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return cast("MlflowClient", _PatientClient(MlflowClient()))


def check_server() -> bool:
    """Sign in, so that a wrong address or password is one error before any work is done; return whether it answers.

    A server that does not answer is no error: it may be starting, and who needs it waits for it.

    Raises:
        StorageError: the address or the credentials are wrong, or there is no registry of models.
    """
    if not os.environ["MLFLOW_TRACKING_URI"].startswith("http"):
        return True
    try:
        sign_in()
    except NoAnswerError:
        return False
    return True


def patiently(call: Callable[[], T]) -> T:
    """Return what a call of MLflow returns; see `mlflow_client`."""
    with clear_errors():
        return insist(call, server_name(), _HINT, _unanswered)


@contextmanager
def clear_errors() -> Iterator[None]:
    """Turn an error of MLflow that no answer of the tracking server explains into a StorageError in our words."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code in _REFUSED:
            raise StorageError(
                f"{server_name()} refuses the credentials ({error.error_code}); check MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD, and what they may do"
            ) from error
        if _of_the_connection(error):
            raise StorageError(masked(f"{server_name()} cannot be used ({first_cause(error)}); {_HINT}")) from error
        raise


class _PatientClient:
    """An MlflowClient whose every method waits for the server."""

    def __init__(self, client: "MlflowClient") -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        if name in _UPLOADS:
            return lambda *arguments, **options: _upload(lambda: method(*arguments, **options))
        return lambda *arguments, **options: patiently(lambda: method(*arguments, **options))


def _upload(call: Callable[[], T]) -> T:
    """Upload artifacts: to the tracking server, or straight to its S3, whose client has limits of its own."""
    from mlflow.exceptions import RestException

    word = f"artifacts are still on their way to the store of {server_name()}"
    try:
        with clear_errors():
            return insist(call, server_name(), _HINT, _unanswered, word=word)
    except (RestException, StorageError):
        raise
    except Exception as error:  # the stores of MLflow's artifacts have no common error type
        reason = " ".join(str(error).split())
        raise StorageError(masked(f"the artifacts cannot be stored with {server_name()}: {reason}")) from error


def _unanswered(error: Exception) -> bool:
    """Return whether nobody has answered and somebody may later; a wrong name or certificate stays wrong."""
    return _of_the_connection(error) and not any(
        isinstance(cause, socket.gaierror | ssl.SSLError) for cause in _causes(error)
    )


def _of_the_connection(error: Exception) -> bool:
    from requests import exceptions

    kinds = (exceptions.ConnectionError, exceptions.Timeout, exceptions.RetryError, exceptions.ChunkedEncodingError)
    return any(isinstance(cause, kinds) for cause in _causes(error))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _limit_s3(seconds: float) -> None:
    """Give MLflow's own S3 client, which it makes from boto3's default session, limits within patience."""
    import boto3
    import botocore.session
    from botocore.config import Config

    attempts = 2
    session = botocore.session.get_session()
    session.set_default_client_config(
        Config(
            connect_timeout=min(10.0, seconds / attempts),
            read_timeout=seconds / attempts,
            retries={"mode": "standard", "total_max_attempts": attempts},
        )
    )
    boto3.setup_default_session(botocore_session=session)
