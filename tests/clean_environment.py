"""The environment without anything that steers Facet, for runs that start from nothing."""

import os

OWN = ("AWS_", "MLFLOW_", "SM_", "FACET_", "KFP_", "CONFIG", "RUNNER")


def clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(OWN)}
