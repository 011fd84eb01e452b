"""What answers look like, as types; the OpenAPI document is made of them."""

from typing import Annotated, Any, Literal, NotRequired, TypedDict

from msgspec import Meta

INPUT_SCHEMAS: dict[str, Any] = {
    "Base64Image": {
        "type": "string",
        "description": "An image file in base64: standard or URL-safe, with or without padding; data: URLs and line "
        "breaks are read too.",
        "contentEncoding": "base64",
    },
    "Pixels": {
        "type": "array",
        "description": "A picture as rows of RGB pixels.",
        "items": {
            "type": "array",
            "items": {
                "type": "array",
                "items": {"type": "integer", "minimum": 0, "maximum": 255},
                "minItems": 3,
                "maxItems": 3,
            },
            "minItems": 1,
        },
        "minItems": 1,
    },
    "Boxes": {
        "type": "array",
        "description": "Boxes of faces: x, y, width, height in pixels of the upright picture.",
        "items": {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4},
        "maxItems": 64,
    },
}


class Error(TypedDict):
    """What is wrong, what was expected, and what to do."""

    error: str


class Head(TypedDict):
    """What one head of a classifier says about a face."""

    label: str
    score: float
    probabilities: dict[str, float]


class Face(TypedDict):
    """A face: its box, null for the whole picture; the detector's score, null without one; what was cut; its heads.

    `notify` is there where a head judges masks: true when a mask is missing or worn wrongly.
    """

    box: list[float] | None
    score: float | None
    crop: Literal["box", "detector", "eyes", "frame", "whole image"]
    heads: dict[str, Head]
    keypoints: NotRequired[dict[str, list[float]]]
    notify: NotRequired[bool]
    notify_reason: NotRequired[str | None]
    notify_confidence: NotRequired[float]


class Answer(TypedDict):
    """The faces of one picture."""

    model: str
    version: str
    faces: list[Face]


class Results(TypedDict):
    """The faces of several pictures, in their order."""

    results: list[Answer]


class Predictions(TypedDict):
    """The faces of each picture, in their order."""

    predictions: list[Answer]


class Server(TypedDict):
    """The server and the extensions of the protocol that it has."""

    name: str
    version: str
    extensions: list[str]


class Live(TypedDict):
    """The process answers."""

    live: bool


class Ready(TypedDict):
    """Whether requests are wanted, and why not."""

    ready: bool
    error: NotRequired[str]


class ModelReady(TypedDict):
    """Whether a model answers, and why not."""

    name: str
    ready: bool
    error: NotRequired[str]


class Ping(TypedDict):
    """Whether requests are wanted, and why not."""

    status: Literal["Healthy", "Unhealthy"]
    error: NotRequired[str]


class ModelNames(TypedDict):
    """The names of the models, the default one first."""

    models: list[str]


class TensorMetadata(TypedDict):
    """A tensor of a model; -1 is a free axis. `labels` are those of the last axis."""

    name: str
    datatype: str
    shape: list[int]
    labels: NotRequired[list[str]]


class ModelHead(TypedDict):
    """A head of a composite's classifiers."""

    name: str
    labels: list[str]


class Member(TypedDict):
    """A model that a composite is made of."""

    name: str
    version: str
    task: str


class ModelMetadata(TypedDict):
    """A model: its loaded versions, the default one first, and its tensors."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
    heads: NotRequired[list[ModelHead]]
    members: NotRequired[list[Member]]


class ConfigTensor(TypedDict):
    """A tensor, without the axis of the batch."""

    name: str
    data_type: str
    dims: list[int]


class ModelConfig(TypedDict):
    """A model's configuration in Triton's form."""

    name: str
    platform: str
    backend: str
    max_batch_size: int
    input: list[ConfigTensor]
    output: list[ConfigTensor]
    parameters: dict[str, Any]


class OutputTensor(TypedDict):
    """An output; its data is here, or behind the JSON with its size in `parameters.binary_data_size`."""

    name: str
    datatype: str
    shape: list[int]
    data: NotRequired[list[Any]]
    parameters: NotRequired[dict[str, int]]


class InferenceResponse(TypedDict):
    """The outputs of a model."""

    model_name: str
    model_version: str
    id: NotRequired[str]
    outputs: list[OutputTensor]


class Duration(TypedDict):
    """How often, and nanoseconds in all."""

    count: Annotated[int, Meta(ge=0)]
    ns: Annotated[int, Meta(ge=0)]


class BatchStatistics(TypedDict):
    """Requests with so many pictures."""

    batch_size: int
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration


class ModelStatistics(TypedDict):
    """What a version of a model has done since it was loaded first; `last_inference` in milliseconds since 1970."""

    name: str
    version: str
    last_inference: int
    inference_count: int
    execution_count: int
    inference_stats: dict[
        Literal[
            "success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss"
        ],
        Duration,
    ]
    response_stats: dict[str, Any]
    batch_stats: list[BatchStatistics]
    memory_usage: list[Any]


class StatisticsOfModels(TypedDict):
    """What models have done."""

    model_stats: list[ModelStatistics]


class ModelState(TypedDict):
    """A version of a model and why it does not answer."""

    name: str
    version: str
    state: Literal["READY", "LOADING", "UNAVAILABLE"]
    reason: str


class Nothing(TypedDict):
    """Done."""
