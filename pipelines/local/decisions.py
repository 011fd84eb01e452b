"""What a run has made of its models: how good they are, and what was decided about them."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pipelines.catalog import PIPELINES, Published
from pipelines.local.run_folder import outputs, scalars
from pipelines.parameters.pipeline import PipelineConfig


@dataclass(frozen=True)
class RunModel:
    """A model that a run has evaluated and registered.

    Attributes:
        folder: of the run.
        config: of the run.
        model: which of the models of the pipeline it is.
    """

    folder: Path
    config: PipelineConfig
    model: Published

    @property
    def name(self) -> str:
        """Its name in the registry."""
        return self.model.title(self.config.model_dump())

    @cached_property
    def registered(self) -> dict[str, Any]:
        """What the step register returned."""
        return outputs(self.folder, self.model.task("register"))

    @cached_property
    def metrics(self) -> dict[str, float]:
        """The scalar metrics of the test split by name."""
        metrics: dict[str, float] = json.loads(outputs(self.folder, self.model.task("evaluate"))["metrics_json"])
        return metrics

    @property
    def floors(self) -> dict[str, float]:
        """The lowest accepted values by metric."""
        floors: dict[str, float] = getattr(self.config, self.model.floors)
        return floors

    @property
    def missed(self) -> list[str]:
        """The metrics below their floors, as `evaluate` judges them: what has no value does not hold its floor."""
        return [name for name, floor in sorted(self.floors.items()) if not self.metrics.get(name, -math.inf) >= floor]

    @property
    def details(self) -> Path:
        """The folder with the files of its evaluation."""
        return self.folder / self.model.task("evaluate") / "details"

    @cached_property
    def _evaluated(self) -> dict[str, Any]:
        """What the evaluation wrote as numbers; empty where it has not."""
        file = self.details / "metrics.json"
        return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """The bounds of the metrics that have a confidence interval."""
        values = self._evaluated.get("metrics", {})
        pairs = ((name, values.get(f"{name}_low"), values.get(f"{name}_high")) for name in self.metrics)
        return {name: (low, high) for name, low, high in pairs if low is not None and high is not None}

    @property
    def worst_group(self) -> str:
        """The group of test faces with the lowest accuracy in words; "" where no two can be compared."""
        group = self._evaluated.get("worst_group")
        if not group:
            return ""
        return f"{group['dimension']} {group['value']}: accuracy {group['accuracy']:.4f} of {group['faces']:,} faces"

    @property
    def decision(self) -> dict[str, Any]:
        """What the step promote returned; that of another model, where it is decided about with that."""
        return outputs(self.folder, self.model.promote)

    @property
    def quantization(self) -> str:
        """What the other precision costs and gains in words; "" where this is no version in another precision."""
        if not self.model.quantized:
            return ""
        of = scalars(self.folder, "quantize")
        split = "train" if of.get("compared_on_train") else "val"
        fell = "" if outputs(self.folder, "quantize")["Output"] else ", a fall by more than max_f1_drop"
        return (
            f"macro F1 {of['macro_f1']:.4f} on {split} against {of['macro_f1_fp32']:.4f} in fp32{fell}; "
            f"{of['speedup']:.1f} times as fast here, {of['megabytes']:.1f} MB against {of['megabytes_fp32']:.1f}"
        )


def run_models(folder: Path, config: PipelineConfig) -> Iterator[RunModel]:
    """The models that a run has evaluated, in the order of their tasks."""
    for model in PIPELINES[config.pipeline].models:
        if outputs(folder, model.task("evaluate")):
            yield RunModel(folder, config, model)
