"""What the server says about itself, whatever protocol asks."""

from importlib import metadata as distribution

EXTENSIONS = (
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "model_repository",
    "parameters",
    "schedule_policy",
    "statistics",
)
"""The extensions of the Open Inference Protocol that this server has, in Triton's words."""


def server_version() -> str:
    """Return the version of the installed package."""
    try:
        return distribution.version("facet")
    except distribution.PackageNotFoundError:
        return "unknown"
