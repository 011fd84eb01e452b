"""The parameters of batch prediction."""

from collections.abc import Iterator, Set
from typing import Any, Literal

from pydantic import Field, field_validator

from pipelines.parameters.addresses import Address, require_model
from pipelines.parameters.pipeline import PipelineConfig
from serving.runtime.errors import InputError
from serving.runtime.validation import Problem

TABLE_TASK = "gather-predictions"
"""The task that writes the table."""


class BatchPredictionConfig(PipelineConfig):
    """The parameters of batch prediction."""

    pipeline: Literal["batch_prediction"] = "batch_prediction"
    models: list[str] = Field(
        default=["models:/faces@champion"],
        min_length=1,
        description="What predicts: one or several classifiers, which are combined, or one detector or composite, "
        "which find the faces; models:/name@alias, s3://bucket/path or a path.",
    )
    combine: Literal["mean", "log_mean"] = Field(
        default="mean", description="How several classifiers are combined: mean or log_mean, the geometric mean."
    )
    tta: list[str] = Field(
        default_factory=list,
        description="Views of each face besides itself: flip, scale:1.1, multiply:0.9, rotate:180.",
    )
    table_format: Literal["csv", "parquet", "json"] = Field(
        default="csv", description="The format of the table: csv, parquet or json."
    )
    photos_per_shard: int = Field(
        default=2000, ge=1, description="How many photos are predicted at a time; shards run side by side."
    )
    max_failed: int = Field(
        default=0, ge=0, description="How many faces of a shard may fail; of models that find the faces, photos."
    )

    @field_validator("models", mode="before")
    @classmethod
    def _listed(cls, models: Any) -> Any:
        """One address is a list of one."""
        return [models] if isinstance(models, str) else models

    def problems(self, wrong: Set[str]) -> Iterator[Problem]:
        """What is wrong below and between the fields, the views too."""
        yield from super().problems(wrong)
        from components.shared.prediction.views import parse_views

        try:
            parse_views(self.tta)
        except InputError as error:
            yield Problem(("tta",), self.tta, str(error).removeprefix("tta: "))

    @property
    def table_name(self) -> str:
        """The file name of the table in the folder of a local run."""
        return f"predictions.{self.table_format}"

    def addresses(self) -> Iterator[Address]:
        """What the steps read from elsewhere, the models too."""
        yield from super().addresses()
        for number, model in enumerate(self.models):
            yield Address(("models", str(number)), model, require_model)
