"""The files and addresses that a configuration names, and whether there is something to read."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from components.shared.dataset.text import read_text
from serving.runtime.errors import InputError, NotFoundError, StorageError
from serving.runtime.registry import fingerprint
from serving.runtime.storage import Location, is_s3
from serving.runtime.validation import Problem


def require(address: str) -> None:
    """Raise InputError when there is nothing at an address."""
    if not Location(address).exists():
        raise InputError("there is nothing at this address; check the path" if is_s3(address) else "does not exist")


def require_model(address: str) -> None:
    """Raise InputError when there is no registered model, version or alias, or no usable model at an address.

    Raises StorageError when the registry or the address cannot be reached.
    """
    if not is_registered(address):
        from components.shared.prediction.found_models import find_models
        from serving.runtime.load import load_model

        require(address)
        for one in find_models(address):
            load_model(one, threads=1)
        return
    try:
        fingerprint(address)
    except NotFoundError as error:
        raise InputError(
            f"{error}; register one first: a run of a pipeline that trains does, such as `make pipeline-submit`"
        ) from error


def is_registered(address: str) -> bool:
    """Tell whether an address is that of a registered model."""
    return address.startswith("models:")


@dataclass(frozen=True, slots=True)
class Address:
    """What an entry of the configuration names, a path or an `s3://` address, and how it is tried."""

    path: tuple[str, ...]
    value: str
    read: Callable[[str], object] = require


def table(
    path: tuple[str, ...], value: str, shipped: Mapping[str, Path], read: Callable[[str], object]
) -> Iterable[Address]:
    """Return the address of a table, nothing for one that ships."""
    return () if value in shipped else (Address(path, value, read),)


def listed(path: tuple[str, ...], value: str | None) -> Iterable[Address]:
    """Return the address of a text file, nothing for None."""
    return () if value is None else (Address(path, value, read_text),)


def check_addresses(addresses: Iterable[Address], *, on_cluster: bool, echo: Callable[[str], None]) -> None:
    """Raise InputError with a line for each address with nothing to read.

    Args:
        addresses: of a configuration.
        on_cluster: whether paths are those of a cluster, which cannot be seen from here, and S3 may be out of reach;
            then only the `s3://` addresses that can be reached are tried.
        echo: receives a line for each that is left to the steps.
    """
    problems = []
    for address in addresses:
        if on_cluster and not is_s3(address.value):
            continue
        try:
            address.read(address.value)
        except InputError as error:
            problems.append(Problem(address.path, address.value, str(error)))
        except StorageError as error:
            if not on_cluster:
                problems.append(Problem(address.path, address.value, str(error)))
            elif address.path != ("source",):  # of which the submission says it
                echo(f"warning {'.'.join(address.path)} = {address.value} cannot be read from here ({error})")
    if problems:
        raise InputError("\n".join(map(str, problems)))
