"""Prints the likeliest labels of photos by head: python triton_client.py localhost:8080 MODEL PHOTO..."""

import sys
from pathlib import Path

import numpy as np
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput

address, model, *photos = sys.argv[1:]
with InferenceServerClient(address) as client:
    heads = [output["name"] for output in client.get_model_metadata(model)["outputs"]]
    images = InferInput("images", [len(photos)], "BYTES")
    images.set_data_from_numpy(np.array([Path(photo).read_bytes() for photo in photos], dtype=object))
    wanted = [InferRequestedOutput(head, class_count=3) for head in heads]
    answer = client.infer(model, [images], outputs=wanted, timeout=5_000_000)
    for head in heads:
        for photo, labels in zip(photos, answer.as_numpy(head), strict=True):
            print(photo, head, *(label.decode() for label in labels))
