"""A custom runtime of MLServer: the Open Inference Protocol with an image file in base64."""

import numpy as np
from mlserver import MLModel
from mlserver.codecs import Base64Codec, NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

from benchmarks.serving.peers.work import Model


class Classifier(MLModel):
    """Answers the image files of one tensor, which MLServer may have put together from several requests."""

    async def load(self) -> bool:
        """Open the model."""
        self.model = Model()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answer a batch."""
        files = Base64Codec.decode_input(payload.inputs[0])
        rows = self.model.probabilities([self.model.pixels(data) for data in files])
        output = NumpyCodec.encode_output("probabilities", np.asarray(rows, np.float32))
        return InferenceResponse(model_name=self.name, outputs=[output])
