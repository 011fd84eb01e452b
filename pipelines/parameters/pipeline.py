"""The parameters of every pipeline: its name, the raw photos, the cluster.

A parameter is written once, as a field of a model: name, type, default and description. The signature and docstring
that KFP compiles, the form in its web interface, `facet run --help` and the table in docs/configuration.md come from
the fields.
"""

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Annotated, Any, ClassVar, Literal, Self, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from pipelines.parameters.addresses import Address, table
from serving.runtime.validation import Problem, known, problems_of

DRAWN_FACES = "s3://raw/drawn_faces"
"""Where the drawn sample data are put; the source when none is named."""
DRAWN_EMOTIONS = "s3://raw/drawn_emotions"
"""Where the drawn sample data in AI Hub's layout are put."""
DRAWN_GROUPS = "s3://raw/drawn_groups"
"""Where the drawn group photos are put."""


def matching(pattern: str, message: str) -> AfterValidator:
    """A validator of texts: the whole text matches the pattern, otherwise the message says what is expected."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(message)
        return text

    return AfterValidator(check)


_Gpus = matching(r"\d{1,2}", "expected a whole number from 0 to 99")
_Secret = matching(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", "use small letters, digits, '-' and '.'")


def with_default(model: type[BaseModel], name: str, default: Any) -> Any:
    """A field with the description of a field of a model and another default."""
    return Field(default=default, description=model.model_fields[name].description)


class PipelineConfig(BaseModel):
    """The parameters of every pipeline. A pipeline adds the groups of parameters that its steps need."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())
    without: ClassVar[Mapping[str, str]] = {}
    """Keys of other pipelines that are looked for here, and why there is no such key."""

    pipeline: str
    source: str = Field(
        default=DRAWN_FACES,
        min_length=1,
        description="Where the raw photos are: s3://bucket/prefix, or a folder that the ingest step can read.",
    )
    format: str = Field(
        default="auto",
        description="Layout of the raw photos: auto (recognize it), profile, aihub, class_folder, manifest, coco, "
        "yolo, fer2013, evaluation, voc, cvat, labelme, label_studio or photos (without labels).",
    )
    ingest_options: dict[str, Any] = Field(
        default_factory=dict, description="Options of the format, such as max_dropped, or manifest and rename."
    )
    curation: list[dict[str, Any]] = Field(
        default_factory=list,
        description="Operations on the annotations before the split, in order: sample, corrections, drop_ages, merge, "
        "sync, drop.",
    )
    source_digest: str = Field(
        default="",
        description="Digest of the source's listing, filled in at submission: a changed source is read anew.",
    )
    gpus: Annotated[str, Field(coerce_numbers_to_str=True), _Gpus] = Field(
        default="0", description="How many GPUs each training gets, a whole number; 0 for none."
    )
    storage_secret: Annotated[str, _Secret] = Field(
        default="facet-storage",
        description="Kubernetes Secret with the addresses and keys of S3 and MLflow; a name, never empty.",
    )

    @classmethod
    def parts(cls) -> dict[str, Mapping[str, tuple[Any, str]]]:
        """The fields that are several parameters for KFP: by field, the type and the description of each by name.

        `arguments` holds their values, and inside a graph such a field is a mapping of them. Each goes to steps of its
        own, so that a change of one leaves the results of the others in the cache.
        """
        return {}

    @classmethod
    def parameters(cls) -> dict[str, inspect.Parameter]:
        """The fields but `pipeline` as KFP reads the parameters of a function: with types that KFP knows."""
        defaults = cls(pipeline=cls.model_fields["pipeline"].default).arguments()
        return {
            name: inspect.Parameter(
                name,
                inspect.Parameter.POSITIONAL_OR_KEYWORD,
                default=defaults[name],
                annotation=str if get_origin(kind) is Literal else kind,
            )
            for name, (kind, _) in cls._flat().items()
        }

    @classmethod
    def descriptions(cls) -> dict[str, str]:
        """The descriptions of `parameters`."""
        return {name: text for name, (_, text) in cls._flat().items()}

    @classmethod
    def _flat(cls) -> dict[str, tuple[Any, str]]:
        """The type and the description of every parameter for KFP."""
        parts, flat = cls.parts(), dict[str, tuple[Any, str]]()
        for name, field in cls.model_fields.items():
            if name != "pipeline":
                flat |= parts.get(name, {name: (field.annotation, str(field.description))})
        return flat

    @classmethod
    def of_placeholders(cls, values: Mapping[str, Any]) -> Self:
        """The model as a graph sees it, with KFP's placeholders for `parameters` as values."""
        fields = dict(values)
        for field, parts in cls.parts().items():
            fields[field] = {name: fields.pop(name) for name in parts}
        return cls.model_construct(**fields)

    def arguments(self) -> dict[str, Any]:
        """The arguments that the pipeline is called with."""
        return self.model_dump(exclude={"pipeline"})

    def problems(self, wrong: Set[str]) -> Iterator[Problem]:
        """What is wrong below and between the fields, such as in the options of the format and of the curation.

        Args:
            wrong: fields that have been reported already; they have their defaults here.
        """
        # The defaults need no check, for which all readers of formats would be imported.
        if self.ingest_options or self.format != type(self).model_fields["format"].default:
            yield from _format(self.format, self.ingest_options)
        if self.curation:
            yield from _curation(self.curation)

    def addresses(self) -> Iterator[Address]:
        """What the steps read from elsewhere; not the drawn sample data, and nothing below the source."""
        if self.source not in (DRAWN_FACES, DRAWN_EMOTIONS, DRAWN_GROUPS):
            yield Address(("source",), self.source)
        if self.curation:
            yield from _curation_addresses(self.curation)


def _format(name: str, options: Mapping[str, Any]) -> Iterator[Problem]:
    from components.ingest.ingest import AUTO, FORMATS

    if name in (AUTO, *FORMATS):
        # Which format it is, is known when the source is read: here some format must have the options.
        names = FORMATS if name == AUTO else (name,)
        yield from min(
            (list(problems_of(FORMATS[one].options, options, path=("ingest_options",))) for one in names), key=len
        )
    else:
        yield Problem(("format",), name, f"unknown format{known(name, (AUTO, *FORMATS))}")


def _curation(operations: Sequence[Mapping[str, Any]]) -> Iterator[Problem]:
    from components.curate.curate import OPERATIONS

    for number, item in enumerate(operations):
        path = ("curation", str(number))
        if len(item) != 1:
            yield Problem(path, item, f"expected one operation and its options{known('', OPERATIONS)}")
            continue
        ((name, options),) = item.items()
        if name not in OPERATIONS:
            yield Problem(path, name, f"unknown operation{known(name, OPERATIONS)}")
            continue
        yield from problems_of(OPERATIONS[name].options, options, path=(*path, name))


def _curation_addresses(operations: Sequence[Mapping[str, Any]]) -> Iterator[Address]:
    from components.curate.corrections import TABLES, read_corrections
    from components.curate.curate import OPERATIONS

    for number, item in enumerate(operations):
        ((name, written),) = item.items()
        options = OPERATIONS[name].options.model_validate(written)
        for field in options.locations:
            path, value = ("curation", str(number), name, field), getattr(options, field)
            if name == "corrections":
                yield from table(path, value, TABLES, read_corrections)
            elif value:
                yield Address(path, value)
