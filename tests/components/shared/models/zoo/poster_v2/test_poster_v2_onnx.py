"""POSTER V2 as an ONNX graph."""

import numpy as np
import onnxruntime
import pytest
import torch

from components.shared.models.zoo.poster_v2.model import PosterV2


@pytest.mark.slow
def test_onnx_runtime_gives_the_logits_of_torch_for_any_batch() -> None:
    torch.manual_seed(0)
    model = PosterV2(7).eval()
    for level in (model.ffn1, model.ffn2, model.ffn3):  # as built, the attention is scaled down to nothing
        torch.nn.init.ones_(level.gamma1)
        torch.nn.init.ones_(level.gamma2)
    program = torch.onnx.export(
        model,
        (torch.zeros(2, 3, 224, 224),),
        dynamo=True,
        external_data=False,
        verbose=False,
        dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
    )
    assert program is not None
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
    for count in (1, 5):
        images = torch.randn(count, 3, 224, 224)
        (found,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
        with torch.no_grad():
            np.testing.assert_allclose(found, model(images).numpy(), rtol=1e-4, atol=1e-5)
