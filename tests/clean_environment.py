"""The environment without anything that steers Facet, for runs that start from nothing."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

OWN = ("AWS_", "MLFLOW_", "SM_", "FACET_", "KFP_", "CONFIG", "RUNNER")


def clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(OWN)}


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Make `values` the whole environment of this process for a while."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
