"""The pipelines by name. A config's `pipeline` names one of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.parameters import ClassificationConfig, CrossValidationConfig, PipelineConfig
from pipelines.search_parameters import SearchConfig

if TYPE_CHECKING:
    from pipelines.resources import Site


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The parameters of a pipeline, and what gives the pipeline with the resources of a site, ready to be compiled."""

    config: type[PipelineConfig]
    build: Callable[["Site"], Any]


def _classification(site: "Site") -> Any:
    from pipelines.classification import classification_pipeline

    return classification_pipeline(site)


def _cross_validation(site: "Site") -> Any:
    from pipelines.cross_validation import cross_validation_pipeline

    return cross_validation_pipeline(site)


def _search(site: "Site") -> Any:
    from pipelines.search import search_pipeline

    return search_pipeline(site)


DEFAULT = "classification"
PIPELINES = {
    "classification": Pipeline(ClassificationConfig, _classification),
    "cross_validation": Pipeline(CrossValidationConfig, _cross_validation),
    "search": Pipeline(SearchConfig, _search),
}
"""Kubeflow Pipelines takes long to import, so a pipeline's module is imported when it is built."""
