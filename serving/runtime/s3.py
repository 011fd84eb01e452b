"""S3 client from the environment; its failures become user-facing errors.

boto3 is imported on first use, so that a server of local files runs without it.
"""

import functools
import os
import re
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving.runtime.addresses import masked, public_address
from serving.runtime.errors import NoAnswerError, StorageError
from serving.runtime.patience import Wait, patience, say_when_slow

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from s3transfer.futures import TransferFuture
    from s3transfer.manager import TransferManager
    from s3transfer.subscribers import BaseSubscriber

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 60.0
"""Both are shorter where all attempts would take longer than patience lasts."""
ATTEMPTS = 3
CONNECTIONS = 32
PART_BYTES = 32 * 2**20

_REFUSED_CREDENTIALS = re.compile("403|Access|Token|Signature")

_client_lock = threading.Lock()


def s3_client() -> "S3Client":
    """Return the S3 client that the AWS_* environment variables describe; threads may share it.

    Read are AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_DEFAULT_REGION
    (us-east-1 when absent), AWS_CA_BUNDLE and whatever else boto3 looks for. Buckets are addressed in the path and
    checksums are sent only where the protocol asks for them, which every S3-compatible server understands.

    Raises:
        StorageError: the environment describes no usable client.
    """
    environment = tuple(sorted((name, value) for name, value in os.environ.items() if name.startswith("AWS_")))
    each = patience() / ATTEMPTS
    with _client_lock:
        return _make_client(environment, os.getpid(), min(CONNECT_TIMEOUT_S, each), min(READ_TIMEOUT_S, each), ATTEMPTS)


@functools.lru_cache(maxsize=4)
def _make_client(
    environment: tuple[tuple[str, str], ...], process: int, connect_timeout: float, read_timeout: float, attempts: int
) -> "S3Client":
    from boto3.session import Session
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    config = Config(
        s3={"addressing_style": "path"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        retries={"mode": "standard", "total_max_attempts": attempts},
        connect_timeout=connect_timeout,
        read_timeout=read_timeout,
        max_pool_connections=CONNECTIONS,
    )
    try:
        session = Session()
        region, endpoint = session.region_name or "us-east-1", _configured_endpoint()
        # boto3 quotes the endpoint in its messages, so a user and a password in it stay out; S3 takes no such.
        return session.client(
            "s3", region_name=region, endpoint_url=endpoint and public_address(endpoint), config=config
        )
    except (BotoCoreError, ValueError) as error:
        message = f"no S3 client can be made from the AWS_* environment variables: {error}"
        raise StorageError(masked(message)) from error


def make_bucket(name: str) -> None:
    """Create an S3 bucket; nothing happens when it is there already.

    Raises:
        StorageError: the bucket cannot be created.
    """
    with _client(_uri(name, ""), accepted=("BucketAlreadyExists", "BucketAlreadyOwnedByYou")) as client:
        if client.meta.region_name == "us-east-1":
            client.create_bucket(Bucket=name)
        else:  # S3 refuses the name of its first region here, and wants every other one
            client.create_bucket(
                Bucket=name,
                CreateBucketConfiguration={"LocationConstraint": client.meta.region_name},  # type: ignore[typeddict-item]
            )


def list_objects(bucket: str, key: str) -> list[tuple[str, int, str]] | None:
    """List (path below `key`, size, ETag) of what is below a key, or of the object itself (path ""); None for nothing.

    Raises:
        StorageError: the bucket is missing or cannot be reached.
    """
    prefix = f"{key}/" if key else ""
    listed: list[tuple[str, int, str]] = []
    exists = not key
    with _client(_uri(bucket, key)) as client:
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for item in page.get("Contents", ()):
                exists = True
                is_marker = item["Key"].endswith("/") and not item["Size"]  # that some tools write for a folder
                if item["Key"] != prefix and not is_marker:
                    listed.append((item["Key"].removeprefix(prefix), item["Size"], item.get("ETag", "").strip('"')))
    if exists:
        return listed
    with _client(_uri(bucket, key), accepted=("404",)) as client:
        head = client.head_object(Bucket=bucket, Key=key)
        return [("", head["ContentLength"], head.get("ETag", "").strip('"'))]
    return None


def exists(bucket: str, key: str) -> bool:
    """Tell whether there is an object at or below a key; without a key, whether there is such a bucket.

    Raises:
        StorageError: the bucket cannot be reached or may not be read.
    """
    with _client(_uri(bucket, key), accepted=("NoSuchBucket", "404")) as client:
        below = client.list_objects_v2(Bucket=bucket, Prefix=f"{key}/" if key else "", MaxKeys=1)
        if key and not below.get("Contents"):
            client.head_object(Bucket=bucket, Key=key)
        return True
    return False


def read_object(bucket: str, key: str, offset: int = 0, length: int | None = None) -> bytes:
    """Read an object, or `length` (at least 1) bytes of it from `offset` on; fewer when it ends before.

    botocore's retries end where the body begins, so the body has its own.

    Raises:
        StorageError: there is no such object, it has no byte at `offset`, or it cannot be reached.
    """
    from s3transfer.utils import S3_RETRYABLE_DOWNLOAD_ERRORS

    request: dict[str, Any] = {"Bucket": bucket, "Key": key}
    if length is not None:
        request["Range"] = f"bytes={offset}-{offset + length - 1}"
    with _client(_uri(bucket, key)) as client:
        for attempts_left in reversed(range(ATTEMPTS)):
            answer = client.get_object(**request)
            if length is not None and "ContentRange" not in answer:
                raise StorageError(f"{_uri(bucket, key)}: {_endpoint()} does not read parts of objects")
            try:
                return answer["Body"].read()
            except S3_RETRYABLE_DOWNLOAD_ERRORS:
                if not attempts_left:
                    raise
    raise AssertionError("the last attempt returns or raises")


def write_object(bucket: str, key: str, content: bytes) -> None:
    """Write one object; it appears whole or not at all.

    Raises:
        StorageError: the bucket is missing or cannot be reached.
    """
    with _client(_uri(bucket, key)) as client:
        client.put_object(Bucket=bucket, Key=key, Body=content)


def delete_object(bucket: str, key: str) -> None:
    """Delete one object; nothing happens when there is none.

    Raises:
        StorageError: the bucket is missing or cannot be reached.
    """
    with _client(_uri(bucket, key)) as client:
        client.delete_object(Bucket=bucket, Key=key)


def download_objects(bucket: str, targets: Sequence[tuple[str, Path]], workers: int) -> None:
    """Download (key, file) pairs; every file appears whole or not at all.

    Raises:
        StorageError: an object is missing or cannot be reached.
    """
    with _transfers(workers) as (manager, heard):
        futures = [(key, manager.download(bucket, key, str(path), subscribers=heard)) for key, path in targets]
        _await(bucket, futures)


def upload_files(bucket: str, sources: Sequence[tuple[Path, str]], workers: int) -> None:
    """Upload (file, key) pairs.

    Raises:
        StorageError: the bucket is missing or cannot be reached.
    """
    with _transfers(workers) as (manager, heard):
        futures = [(key, manager.upload(str(path), bucket, key, subscribers=heard)) for path, key in sources]
        _await(bucket, futures)


@contextmanager
def _transfers(workers: int) -> Iterator[tuple["TransferManager", list["BaseSubscriber"]]]:
    """Give a manager of transfers and who is to be told of their progress: silence means that S3 does not answer."""
    from boto3.s3.transfer import TransferConfig, create_transfer_manager
    from s3transfer.subscribers import BaseSubscriber

    class Heard(BaseSubscriber):
        def on_progress(self, future: "TransferFuture", bytes_transferred: int, **_: Any) -> None:
            wait.progress()

    config = TransferConfig(
        multipart_threshold=PART_BYTES,
        multipart_chunksize=PART_BYTES,
        max_concurrency=workers,
        use_threads=workers > 1,
        preferred_transfer_client="classic",
    )
    with _say_when_slow() as wait, create_transfer_manager(s3_client(), config) as manager:
        yield manager, [Heard()]


def _await(bucket: str, futures: Sequence[tuple[str, "TransferFuture"]]) -> None:
    for key, future in futures:
        with _clear_errors(_uri(bucket, key)):
            future.result()


def _say_when_slow() -> AbstractContextManager[Wait]:
    return say_when_slow(f"S3 at {_endpoint()} does not answer, waiting up to {patience():g} s")


@contextmanager
def _client(uri: str, *, accepted: Collection[str] = ()) -> Iterator["S3Client"]:
    """Give the client for one request; see `_clear_errors`."""
    with _clear_errors(uri, accepted=accepted), _say_when_slow():
        yield s3_client()


@contextmanager
def _clear_errors(uri: str, *, accepted: Collection[str] = ()) -> Iterator[None]:
    """Turn every boto3 failure in the block into a StorageError that names `uri`.

    An answer with one of the `accepted` S3 error codes, such as `NoSuchKey` or `404`, ends the block and is no error.
    """
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code not in accepted:
            raise StorageError(masked(f"{uri}: {_refusal(code, error)}")) from error
    except BotoCoreError as error:
        raise _failure(uri, error) from error
    except (Boto3Error, ConnectionError, TimeoutError) as error:
        raise StorageError(masked(f"{uri}: the transfer failed: {error}")) from error


def _uri(bucket: str, key: str) -> str:
    return f"s3://{bucket}/{key}"


def _refusal(code: str, error: Exception) -> str:
    endpoint = _endpoint()
    if code == "NoSuchBucket":
        return f"there is no such bucket at {endpoint}; create it or correct the name"
    if code in ("NoSuchKey", "404"):
        return f"there is no such object at {endpoint}"
    if _REFUSED_CREDENTIALS.search(code):
        return (
            f"{endpoint} refuses the credentials ({code}); "
            "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and what they may read"
        )
    return f"{endpoint} answered with an error: {error}"


def _failure(uri: str, error: Exception) -> StorageError:
    from botocore import exceptions as botocore

    credentials = (botocore.NoCredentialsError, botocore.PartialCredentialsError)
    if isinstance(error, (*credentials, botocore.CredentialRetrievalError, botocore.ProfileNotFound)):
        return StorageError(
            masked(f"{uri}: no usable S3 credentials ({error}); set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
        )
    if isinstance(error, botocore.ReadTimeoutError | botocore.ConnectTimeoutError):
        return NoAnswerError(masked(f"{uri}: {_endpoint()} does not answer in time ({error}); check AWS_ENDPOINT_URL"))
    if isinstance(error, botocore.HTTPClientError | botocore.ConnectionError):
        return NoAnswerError(masked(f"{uri}: {_endpoint()} cannot be reached ({error}); check AWS_ENDPOINT_URL"))
    if isinstance(error, botocore.ParamValidationError):
        return StorageError(masked(f"{uri}: not a valid bucket or key: {error}"))
    return StorageError(masked(f"{uri}: {error}"))


def _endpoint() -> str:
    return public_address(_configured_endpoint() or "Amazon S3")


def _configured_endpoint() -> str | None:
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
