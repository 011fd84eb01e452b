"""Settings from the environment and, for variables that are not set there, from a `.env` file."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from serving.runtime.addresses import separate_credentials
from serving.runtime.errors import InputError

SOURCE_VARIABLE = "SM_CHANNEL_TRAIN"
"""Overrides a config's `source`, see `pipelines.command.config`."""
PROJECTED_TOKEN = Path("/var/run/secrets/kubeflow/pipelines/token")


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of this machine and the cluster.

    Attributes:
        home: `FACET_HOME`, by default `.facet` in the current folder: local servers' data, runs, reports.
        runs: `SM_MODEL_DIR`, by default `runs` below `home`: where the numbered run folders are made.
        kfp_host: `KFP_HOST`: address of the Kubeflow Pipelines API; empty means this machine.
        kfp_namespace: `KFP_NAMESPACE`: the user's namespace on a cluster with several users.
        kfp_token: `KFP_TOKEN`: bearer token for the API; never shown.
        kfp_token_file: `KF_PIPELINES_SA_TOKEN_PATH`: file with the token, read anew for every request; by default the
            token that Kubernetes projects into a pod for Kubeflow Pipelines, where there is one.
        kfp_cookies: `KFP_COOKIES`: the cookies of a logged-in browser; never shown.
        kfp_ca_cert: `KFP_CA_CERT`: file with the certificate authority of the API's certificate.
        kfp_ui: `KF_PIPELINES_UI_ENDPOINT`: address of the web pages, where that is not `kfp_host`.
        resources: `FACET_RESOURCES`: file with the resources of the tasks on this cluster; empty for the defaults.
    """

    home: Path
    runs: Path
    kfp_host: str
    kfp_namespace: str
    kfp_token: str = field(repr=False)
    kfp_token_file: str
    kfp_cookies: str = field(repr=False)
    kfp_ca_cert: str
    kfp_ui: str
    resources: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Read the variables named above; an empty one counts as not set."""
        home = Path(environment.get("FACET_HOME") or ".facet")
        return cls(
            home=home,
            runs=Path(environment.get("SM_MODEL_DIR") or home / "runs"),
            kfp_host=environment.get("KFP_HOST", ""),
            kfp_namespace=environment.get("KFP_NAMESPACE", ""),
            kfp_token=environment.get("KFP_TOKEN", ""),
            kfp_token_file=environment.get("KF_PIPELINES_SA_TOKEN_PATH", "") or _projected_token(),
            kfp_cookies=environment.get("KFP_COOKIES", ""),
            kfp_ca_cert=environment.get("KFP_CA_CERT", ""),
            kfp_ui=environment.get("KF_PIPELINES_UI_ENDPOINT", ""),
            resources=environment.get("FACET_RESOURCES", ""),
        )


def _projected_token() -> str:
    return str(PROJECTED_TOKEN) if PROJECTED_TOKEN.is_file() else ""


def load_settings(folder: Path | None = None) -> Settings:
    """Read `.env` in the folder (by default the current one) into the environment, then the settings from there.

    Users and passwords in the addresses of the environment become variables of their own, see `separate_credentials`.
    """
    from dotenv import load_dotenv

    file = (folder or Path()) / ".env"
    try:
        load_dotenv(file)
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read, expected lines NAME=value in UTF-8: {error}") from error
    separate_credentials(os.environ)
    return Settings.from_environment(os.environ)
