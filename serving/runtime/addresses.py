"""What people are shown of addresses and of other libraries' messages: no password, key or token."""

import os
import re
from collections.abc import Iterator, Mapping, MutableMapping
from urllib.parse import quote, unquote, urlsplit

from serving.runtime.errors import InputError

_HIDDEN = "***"
_SHORTEST = 4
"""Shorter secrets are hidden in addresses only: they occur in any text by chance."""

_USER = re.compile(r"(?<=://)[^\s/?#'\"<>]*@")
_QUERY = re.compile(
    r"(?i)(?<=[?&;])((?:[\w.-]*(?:signature|credential|token|secret|password|accesskeyid)[\w.-]*|sig|key|api_?key)=)"
    r"[^&;#\s'\"<>)]+"
)
_HEADER = re.compile(r"(?i)(authorization\W+(?:basic|bearer)\s+)[^\s'\",]+")
_SECRET = re.compile(
    r"(?i)(PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|COOKIES?|(ACCESS|SECRET|API|AUTH|PRIVATE)_?KEY(_ID)?)$"
)
_FLAGS = ("true", "false", "none")
_S3_ENDPOINTS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "MLFLOW_S3_ENDPOINT_URL")


def public_address(text: str) -> str:
    """An address, or a text with addresses, without their users and passwords and the signatures of signed ones."""
    return _HEADER.sub(rf"\1{_HIDDEN}", _QUERY.sub(rf"\1{_HIDDEN}", _USER.sub("", text)))


def masked(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """A message as it may be shown: as `public_address`, and every secret of the environment is replaced by `***`.

    Secrets are the values of variables whose name ends like AWS_SECRET_ACCESS_KEY, KFP_TOKEN or KFP_COOKIES, and the
    passwords in addresses in any variable, also as they are written in addresses.
    """
    text = public_address(text)
    for secret in sorted(set(_secrets(environment)), key=len, reverse=True):
        text = text.replace(secret, _HIDDEN)
    return text


def separate_credentials(environment: MutableMapping[str, str]) -> None:
    """Take users and passwords out of the addresses of MLflow and S3: other libraries quote these in their messages.

    Those of MLflow become MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, unless a user or a token is set. S3
    has keys and knows no others.

    Raises:
        InputError: one of the addresses cannot be taken apart.
    """
    tracking = environment.get("MLFLOW_TRACKING_URI", "")
    if tracking.startswith(("http://", "https://")) and (user := _USER.search(tracking)):
        environment["MLFLOW_TRACKING_URI"] = _USER.sub("", tracking)
        if not environment.get("MLFLOW_TRACKING_USERNAME") and not environment.get("MLFLOW_TRACKING_TOKEN"):
            name, _, password = user[0].removesuffix("@").partition(":")
            environment["MLFLOW_TRACKING_USERNAME"] = unquote(name)
            environment["MLFLOW_TRACKING_PASSWORD"] = unquote(password)
    for variable in _S3_ENDPOINTS:
        if _USER.search(environment.get(variable, "")):
            environment[variable] = _USER.sub("", environment[variable])
    for variable in ("MLFLOW_TRACKING_URI", *_S3_ENDPOINTS):
        _check_address(variable, environment.get(variable, ""))


def _check_address(variable: str, address: str) -> None:
    try:
        _ = urlsplit(address).port
    except ValueError as error:
        raise InputError(f"{variable} is not an address: {error}; expected such as http://host:5000") from error


def _secrets(environment: Mapping[str, str]) -> Iterator[str]:
    for variable, value in environment.items():
        secrets = [value] if _SECRET.search(variable) else []
        if variable.upper().endswith(("COOKIE", "COOKIES")):
            secrets += [cookie.partition("=")[2].strip() for cookie in value.split(";")]
        user, at, _ = value.partition("://")[2].rpartition("@")
        if at:
            secrets.append(user.partition(":")[2])
        for secret in secrets:
            forms = (secret, unquote(secret), quote(secret, safe=""))
            yield from (form for form in forms if len(form) >= _SHORTEST and form.lower() not in _FLAGS)
