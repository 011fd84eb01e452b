"""The table of everything that the server answers; the application, the OpenAPI document and /docs follow it."""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from starlette.requests import Request
from starlette.responses import Response

from serving.server.binary_tensors import HEADER
from serving.server.http import health, inference, kserve_v1, mlflow_scoring, model_control, oip, predict, schemas

Handler = Callable[[Request], Awaitable[Response]]

JSON, FORM, ANY = "application/json", "multipart/form-data", "application/octet-stream"
TEXT = "text/plain"

# What may keep a request for a model from its answer, and one with a body.
_OF_MODEL = (404, 503)
_OF_BODY = (400, 404, 408, 413, 415, 503, 504)

BINARY: dict[str, Any] = {"type": "string", "format": "binary"}
TEXT_SCHEMA: dict[str, Any] = {"type": "string"}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A path and a method.

    Attributes:
        method: GET, which also answers HEAD, or POST.
        also: another method for the same.
        path: with its parameters in braces.
        handler: what answers; its docstring describes it.
        tag: the protocol that it belongs to.
        answers: media type -> the type, types or JSON schema of the answer with status 200.
        body: media type -> the type or the JSON schema of the request.
        needs_body: whether a request without a body is refused.
        query: query parameters that it reads.
        headers: of requests that it reads.
        errors: statuses that it may have besides 200, all with the type Error.
        statuses: other statuses with the type of the answer.
        example: curl's options for a request; the model is called `faces`.
    """

    method: Literal["GET", "POST"]
    path: str
    handler: Handler
    tag: str
    answers: dict[str, Any]
    body: dict[str, Any] | None = None
    needs_body: bool = True
    query: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    errors: tuple[int, ...] = ()
    statuses: tuple[int, ...] = ()
    example: str = ""
    also: Literal["PUT"] | None = None

    @property
    def methods(self) -> list[str]:
        """The methods that it answers."""
        return [self.method, *([self.also] if self.also else [])]


_FORM: dict[str, Any] = {
    "type": "object",
    "description": "Parts with a file name are pictures, whatever their field is called; `box` is x,y,width,height.",
    "properties": {"image": {"type": "array", "items": BINARY}, "box": {"type": "array", "items": {"type": "string"}}},
}
_PICTURES = {"image/*": BINARY, ANY: BINARY, FORM: _FORM, JSON: predict.PredictRequest}
_TENSORS = {JSON: inference.InferenceRequest, ANY: BINARY}
_WHICH = ("model", "version")


def _both(endpoint: Endpoint) -> Iterator[Endpoint]:
    """Yield an endpoint of a model twice: for its default version, and for a version."""
    yield endpoint
    yield replace(endpoint, path=endpoint.path.replace("{model}", "{model}/versions/{version}"))


def _get(path: str, handler: Handler, tag: str, answer: Any, **more: Any) -> Endpoint:
    return Endpoint("GET", path, handler, tag, answer if isinstance(answer, dict) else {JSON: answer}, **more)


def _post(path: str, handler: Handler, tag: str, answer: Any, body: dict[str, Any], **more: Any) -> Endpoint:
    answers = answer if isinstance(answer, dict) else {JSON: answer}
    return Endpoint("POST", path, handler, tag, answers, body, **{"errors": _OF_BODY} | more)


def _json(text: str) -> str:
    return f"-H 'Content-Type: {JSON}' -d '{text}'"


_FACES = (schemas.Answer, schemas.Results)
_V2, _V1, _TS, _ML = "Open Inference Protocol", "KServe v1", "TorchServe", "MLflow"
_CONTROL, _SERVER = "Repository", "Server"
_PHOTO = "--data-binary @photo.jpg"
_STATS = schemas.StatisticsOfModels

ENDPOINTS: tuple[Endpoint, ...] = (
    _post("/predict", predict.predict, "Faces", _FACES, _PICTURES, query=(*_WHICH, "box"), example=_PHOTO),
    *_both(
        _post(
            "/v2/models/{model}/infer",
            inference.infer,
            _V2,
            {JSON: schemas.InferenceResponse, ANY: BINARY},
            _TENSORS,
            headers=(HEADER,),
            example=_json('{"inputs": [{"name": "images", "datatype": "BYTES", "shape": [1], "data": ["@BASE64"]}]}'),
        )
    ),
    _get("/v2", oip.server, _V2, schemas.Server),
    _get("/v2/health/live", health.live, _V2, schemas.Live),
    _get("/v2/health/ready", health.ready, _V2, schemas.Ready, statuses=(503,)),
    _get("/v2/models", oip.models, _V2, schemas.ModelNames),
    _get("/v2/models/stats", oip.statistics, _V2, _STATS),
    *_both(_get("/v2/models/{model}", oip.model, _V2, schemas.ModelMetadata, errors=_OF_MODEL)),
    *_both(_get("/v2/models/{model}/ready", health.model_ready, _V2, schemas.ModelReady, errors=_OF_MODEL)),
    *_both(_get("/v2/models/{model}/config", oip.config, _V2, schemas.ModelConfig, errors=_OF_MODEL)),
    *_both(_get("/v2/models/{model}/stats", oip.statistics, _V2, _STATS, errors=_OF_MODEL)),
    _post(
        "/v2/repository/index",
        model_control.index,
        _CONTROL,
        list[schemas.ModelState],
        {JSON: model_control.IndexRequest},
        needs_body=False,
        example="-X POST",
    ),
    *(
        _post(
            f"/v2/repository/models/{{model}}/{verb}",
            handler,
            _CONTROL,
            schemas.Nothing,
            {JSON: model_control.ControlRequest},
            needs_body=False,
            errors=(*_OF_BODY, 403),
            example="-X POST",
        )
        for verb, handler in (("load", model_control.load), ("unload", model_control.unload))
    ),
    _get("/v1/models", kserve_v1.models, _V1, schemas.ModelNames),
    _post(
        "/v1/models/{model}:predict",
        kserve_v1.predict,
        _V1,
        schemas.Predictions,
        {JSON: kserve_v1.InstancesRequest},
        example=_json('{"instances": [{"image_bytes": {"b64": "@BASE64"}}]}'),
    ),
    _get("/v1/models/{model}", kserve_v1.model, _V1, schemas.ModelReady, errors=_OF_MODEL),
    _get("/ping", health.ping, _TS, schemas.Ping, statuses=(503,)),
    *(
        # curl -T sends PUT.
        _post(path, predict.predict, _TS, _FACES, _PICTURES, query=("box",), example="-T photo.jpg", also="PUT")
        for path in ("/predictions/{model}", "/predictions/{model}/{version}")
    ),
    _post(
        "/invocations",
        mlflow_scoring.invocations,
        _ML,
        schemas.Predictions,
        {JSON: mlflow_scoring.InvocationsRequest},
        query=_WHICH,
        example=_json('{"dataframe_split": {"columns": ["image"], "data": [["@BASE64"]]}}'),
    ),
    _get("/health", health.ping, _ML, schemas.Ping, statuses=(503,)),
    _get("/version", mlflow_scoring.version, _ML, {TEXT: TEXT_SCHEMA}),
    _get("/metrics", health.metrics, _SERVER, {TEXT: TEXT_SCHEMA}),
)
