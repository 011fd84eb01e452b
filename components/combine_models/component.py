"""The KFP component of the combine_models step."""

from typing import Optional

from kfp import dsl
from kfp.dsl import Input, Metrics, Model, Output

from components import container_images


@dsl.component(base_image=container_images.DATA, install_kfp_package=False)
def combine_models(
    model: Output[Model],
    metrics: Output[Metrics],
    name: str,
    models: Optional[Input[list[Model]]] = None,
    weights: list[str] = [],  # noqa: B006
    rule: str = "mean",
) -> None:
    """Combine classifiers into one model.onnx: the folds of one, or a mask and a gender_age model into 18 classes.

    Args:
        model: A folder with model.onnx.
        metrics: How many models, the size of the file and of theirs, the largest difference from the combination of
            their own answers, CPU time of one face.
        name: The model's name, under which it is registered and served.
        models: Folders with model.onnx, classifiers in fp32.
        weights: Further ones by their addresses: a path, s3:// or a registered model.
        rule: How models with the same heads are combined: mean of their probabilities, or log_mean of the logarithms.
    """
    from pathlib import Path

    from components.combine_models.combine import combine_models as run
    from components.shared.metrics.step import log_metrics

    addresses = [*(folder.path for folder in models or []), *weights]
    result = run(addresses, Path(model.path), name=name, rule=rule)
    log_metrics(metrics, result.metrics)
    model.metadata["sha256"] = result.sha256
