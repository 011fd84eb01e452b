"""The training as a command, for one process or several.

    python -m torch.distributed.run --nproc-per-node 2 -m components.train_classifier \
        config.yaml --images images --annotations annotations.json --checkpoints checkpoints

`batch_size` counts the faces of all processes together. Every path may be an `s3://` address. A network that several
nodes train belongs there, since the first node alone writes it.
"""

import argparse
import logging
import os
import sys
from pathlib import Path

from components.shared.options import read_yaml
from components.shared.variables import set_variables
from components.train_classifier.config.training import resolve_config
from serving.runtime.addresses import masked
from serving.runtime.errors import InputError
from serving.runtime.storage import is_s3, upload


def main() -> None:
    """Train as the arguments say; a mistake of the user is one line, and exit code 2."""
    parser = argparse.ArgumentParser(prog="python -m components.train_classifier", description="Train a classifier.")
    parser.add_argument("config", help="YAML file with the options of the training, label_space among them")
    parser.add_argument("--images", required=True, help="the image archive")
    parser.add_argument("--annotations", required=True, help="COCO annotations that were split")
    parser.add_argument("--crops", default="", help="the faces cut out before, instead of those in the images")
    parser.add_argument("--checkpoints", required=True, help="the output folder")
    parser.add_argument("--experiment", default="", help="MLflow experiment; by default facet- and the label space")
    parser.add_argument("--run-name", default="", help="name of the MLflow run where it is one of several")
    arguments = parser.parse_args()
    set_variables()
    from components.shared.training.processes import local_copy, node_folder
    from components.train_classifier.train import train

    first = os.environ.get("RANK", "0") == "0"
    logging.basicConfig(level=logging.INFO if first else logging.WARNING, format="%(message)s")
    try:
        with node_folder() as folder:
            options = read_yaml(local_copy(arguments.config, folder), arguments.config) or {}
            remote = is_s3(arguments.checkpoints)
            checkpoints = folder / "checkpoints" if remote else Path(arguments.checkpoints)
            result = train(
                resolve_config(options),
                local_copy(arguments.images, folder),
                local_copy(arguments.annotations, folder),
                checkpoints,
                crops=local_copy(arguments.crops, folder) if arguments.crops else None,
                experiment=arguments.experiment,
                run_name=arguments.run_name,
            )
            if remote and first:
                upload(checkpoints, arguments.checkpoints)
    except (InputError, OSError) as error:
        print(f"error: {masked(str(error))}", file=sys.stderr)
        sys.exit(2)
    if first:
        print(f"best epoch {result.best_epoch}: " + ", ".join(f"{k} {v:.4f}" for k, v in result.metrics.items()))


if __name__ == "__main__":
    main()
