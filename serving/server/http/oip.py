"""The Open Inference Protocol over REST (version 2), but for inference: the server, its models, what they have done."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serving.server.about import EXTENSIONS, server_version
from serving.server.http.request import json_response, model_of, state_of
from serving.server.inference import configuration, describe
from serving.server.statistics import ModelStatistics, Total


async def server(request: Request) -> Response:
    """Return the server's name, version and extensions."""
    return json_response({"name": "facet", "version": server_version(), "extensions": EXTENSIONS})


async def models(request: Request) -> Response:
    """List the names of the models."""
    return json_response({"models": state_of(request).models.names})


async def model(request: Request) -> Response:
    """Describe a model: versions, tensors, labels."""
    found = model_of(request)
    return json_response(describe(found, state_of(request).models.versions(found.name)))


async def config(request: Request) -> Response:
    """Return a model's configuration in Triton's form."""
    return json_response(configuration(model_of(request)))


async def statistics(request: Request) -> Response:
    """Return what a model has done, a version of it or all of them; without a model, all models."""
    name, version = request.path_params.get("model", ""), request.path_params.get("version", "")
    return json_response({"model_stats": [_statistics(one) for one in state_of(request).statistics(name, version)]})


def _statistics(model: ModelStatistics) -> dict[str, Any]:
    never = Total()
    stages = {
        "success": model.success,
        "fail": model.fail,
        "queue": model.queue,
        "compute_input": model.input,
        "compute_infer": model.infer,
        "compute_output": model.output,
        "cache_hit": never,
        "cache_miss": never,
    }
    return {
        "name": model.name,
        "version": model.version,
        "last_inference": model.last_ms,
        "inference_count": model.rows,
        "execution_count": model.executions,
        "inference_stats": {stage: _total(total) for stage, total in stages.items()},
        "response_stats": {},
        "batch_stats": [
            {
                "batch_size": batch.rows,
                "compute_input": _total(batch.input),
                "compute_infer": _total(batch.infer),
                "compute_output": _total(batch.output),
            }
            for batch in sorted(model.batches.values(), key=lambda batch: batch.rows)
        ],
        "memory_usage": [],
    }


def _total(total: Total) -> dict[str, int]:
    return {"count": total.count, "ns": round(total.seconds * 1e9)}
