"""The parameters of pipelines that train a detector and, on the faces that it finds, a classifier."""

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Annotated, Any, ClassVar

from components.detect_faces.config import MEMBERS, TRAINED, Member, Trained
from pipelines.parameters.detector import DetectorParameters
from pipelines.parameters.faces import CompositeName, CompositeParameters
from pipelines.parameters.model import ModelName, ModelParameters
from pipelines.parameters.pipeline import DRAWN_EMOTIONS, PipelineConfig, with_default
from serving.runtime.validation import Problem


class EmotionParameters(DetectorParameters, CompositeParameters):
    """Of pipelines that train a detector and a classifier, and register them and their composite."""

    members: ClassVar[Mapping[str, type[Member]]] = MEMBERS
    default_chain: ClassVar[Sequence[Any]] = (TRAINED,)

    source: str = with_default(PipelineConfig, "source", DRAWN_EMOTIONS)
    label_space: str = with_default(ModelParameters, "label_space", "emotion")
    model_name: Annotated[str, ModelName] = with_default(ModelParameters, "model_name", "emotions")
    composite: Annotated[str, CompositeName] = with_default(CompositeParameters, "composite", "emotion_photos")

    def problems(self, wrong: Set[str]) -> Iterator[Problem]:
        """What is wrong below and between the fields, a chain without the detector and names that are taken too."""
        found = list(super().problems(wrong))
        yield from found
        names = {"model_name": self.model_names, "composite": (self.composite,)}
        for name, values in names.items():
            if self.detector_name in values and not wrong & {name, "detector_name", "precision"}:
                message = f"is the name of another model, see {name}: take another"
                yield Problem(("detector_name",), self.detector_name, message)
        if "faces" in wrong or any(problem.path[0] == "faces" for problem in found):
            return
        trained = [(number, member) for number, (_, member) in enumerate(self.chain) if isinstance(member, Trained)]
        if not trained:
            message = f"the detector of this run finds no face: add {TRAINED} to the chain"
            yield Problem(("faces", "detectors"), self.faces["detectors"], message)
        for number, member in trained:
            if member.name not in ("", self.detector_name):
                path = ("faces", "detectors", str(number), TRAINED, "name")
                yield Problem(path, member.name, f"is registered as {self.detector_name}: write that as detector_name")
