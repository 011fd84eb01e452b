"""The only place that names container images: one per target of docker/Dockerfile.

A full reference (registry, tag or digest) in the environment variable replaces a default at compile time.
"""

import os

DATA = os.environ.get("FACET_IMAGE_DATA", "facet/data:latest")
TRAIN = os.environ.get("FACET_IMAGE_TRAIN", "facet/train:latest")
SERVE = os.environ.get("FACET_IMAGE_SERVE", "facet/serve:latest")
VIDEO = os.environ.get("FACET_IMAGE_VIDEO", "facet/video:latest")
YOLO = os.environ.get("FACET_IMAGE_YOLO", "facet/yolo:latest")
