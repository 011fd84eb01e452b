"""The whole of POSTER V2 with weights: against a second writing of it, frozen parts, training."""

import pytest
import torch
from torch.nn import functional

from components.shared.models.zoo.poster_v2.model import PosterV2

State = dict[str, torch.Tensor]


def lively(model: PosterV2) -> PosterV2:
    """Give every tensor values that matter: as built, the scales of 1e-5 hide all of the attention."""
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith(("running_mean", "bias")):
                tensor.normal_(std=0.1)
            elif name.endswith("running_var") or "gamma" in name or (tensor.ndim == 1 and name.endswith("weight")):
                tensor.uniform_(0.4, 1)
            elif tensor.ndim == 3 or name.endswith("bias_table"):
                tensor.normal_()
            elif name.endswith("weight"):
                tensor.normal_(std=tensor[0].numel() ** -0.5)
    return model


@pytest.fixture(scope="module")
def network() -> PosterV2:
    torch.manual_seed(0)
    return lively(PosterV2(7)).eval()


def reference(state: State, images: torch.Tensor) -> torch.Tensor:
    """POSTER V2 in evaluation mode as a function of the published tensors and nothing else."""

    def conv(x: torch.Tensor, name: str, stride: int = 1, groups: int = 1) -> torch.Tensor:
        weight = state[f"{name}.weight"]
        bias = state.get(f"{name}.bias")
        return functional.conv2d(x, weight, bias, stride, padding=weight.shape[-1] // 2, groups=groups)

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def norm(x: torch.Tensor, name: str, eps: float) -> torch.Tensor:
        x = (x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, correction=0, keepdim=True) + eps)
        return x * state[f"{name}.weight"] + state[f"{name}.bias"]

    def batch_norm(x: torch.Tensor, name: str) -> torch.Tensor:
        parts = (state[f"{name}.{part}"].view(-1, 1, 1) for part in ("running_mean", "running_var", "weight", "bias"))
        mean, variance, weight, bias = parts
        return (x - mean) / torch.sqrt(variance + 1e-5) * weight + bias

    def prelu(x: torch.Tensor, name: str) -> torch.Tensor:
        return torch.where(x > 0, x, x * state[f"{name}.weight"].view(-1, 1, 1))

    def block(x: torch.Tensor, name: str, stride: int = 1, groups: int = 1) -> torch.Tensor:
        return prelu(batch_norm(conv(x, f"{name}.conv", stride, groups), f"{name}.bn"), f"{name}.prelu")

    def inverted(x: torch.Tensor, name: str, stride: int = 1) -> torch.Tensor:
        x = block(x, f"{name}.conv")
        x = block(x, f"{name}.conv_dw", stride, groups=x.shape[1])
        return batch_norm(conv(x, f"{name}.project.conv"), f"{name}.project.bn")

    def repeat(x: torch.Tensor, name: str, times: int) -> torch.Tensor:
        for unit in range(times):
            x = x + inverted(x, f"{name}.model.{unit}")
        return x

    def body(x: torch.Tensor, name: str, units: int) -> torch.Tensor:
        for unit in range(units):
            stride, short, long = 2 if unit == 0 else 1, f"{name}.{unit}.shortcut_layer", f"{name}.{unit}.res_layer"
            y = batch_norm(x, f"{long}.0")
            y = conv(prelu(conv(y, f"{long}.1"), f"{long}.2"), f"{long}.3", stride)
            x = x[:, :, ::stride, ::stride]
            if f"{short}.0.weight" in state:
                x = batch_norm(conv(x, f"{short}.0"), f"{short}.1")
            x = x + batch_norm(y, f"{long}.4")
        return x

    def mlp(x: torch.Tensor, name: str) -> torch.Tensor:
        x = linear(x, f"{name}.fc1")
        return linear(x * 0.5 * (1 + torch.erf(x / 2**0.5)), f"{name}.fc2")

    def heads(x: torch.Tensor, count: int) -> torch.Tensor:
        return x.view(*x.shape[:2], count, -1).transpose(1, 2)

    def attend(
        q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, count: int, bias: torch.Tensor | float
    ) -> torch.Tensor:
        q, k, v = (heads(x, count) for x in (q, k, v))
        mixed = torch.softmax(q @ k.mT * q.shape[3] ** -0.5 + bias, -1) @ v
        return mixed.transpose(1, 2).flatten(2)

    def cells(x: torch.Tensor) -> torch.Tensor:
        return x.permute(0, 2, 3, 1).flatten(1, 2)

    def level(number: int, image: torch.Tensor, landmarks: torch.Tensor) -> torch.Tensor:
        window, dim = landmarks.shape[3], landmarks.shape[1]
        base = norm(cells(conv(image, f"conv{number}", 2)), f"window{number}.norm", 1e-5)
        keys, values = linear(base, f"attn{number}.qkv").split(dim, dim=2)
        table = state[f"attn{number}.relative_position_bias_table"]
        bias = table[state[f"attn{number}.relative_position_index"]].permute(2, 0, 1)
        attended = linear(attend(cells(landmarks), keys, values, dim // 32, bias), f"attn{number}.proj")
        x = base + state[f"ffn{number}.gamma1"] * attended
        x = x + state[f"ffn{number}.gamma2"] * mlp(norm(x, f"ffn{number}.norm", 1e-5), f"ffn{number}.mlp")
        return x.view(-1, window, window, dim).permute(0, 3, 1, 2)

    faces = images[:, :, ::2, ::2]
    land = "face_landback."
    face1 = block(block(faces, f"{land}conv1", 2), f"{land}conv2_dw", groups=64)
    face1 = repeat(inverted(face1, f"{land}conv_23", 2), f"{land}conv_3", 4)
    face2 = repeat(inverted(face1, f"{land}conv_34", 2), f"{land}conv_4", 6)
    face3 = repeat(inverted(face2, f"{land}conv_45", 2), f"{land}conv_5", 2)
    face3 = conv(block(face3, f"{land}conv_6_sep"), "last_face_conv")
    image = prelu(batch_norm(conv(faces, "ir_back.input_layer.0"), "ir_back.input_layer.1"), "ir_back.input_layer.2")
    image1 = body(image, "ir_back.body1", 3)
    image2 = body(image1, "ir_back.body2", 4)
    image3 = body(image2, "ir_back.body3", 14)
    tokens1 = conv(conv(level(1, image1, face1), "embed_q.0", 2), "embed_q.1", 2)
    tokens2 = conv(level(2, image2, face2), "embed_k.0", 2)
    tokens3 = conv(level(3, image3, face3), "embed_v.proj")
    first = state["VIT.cls_token"].expand(len(images), 1, 768)
    x = torch.cat([first, cells(tokens1), cells(tokens2), cells(tokens3)], dim=1) + state["VIT.pos_embed"]
    for number in range(2):
        name = f"VIT.blocks.{number}"
        q, k, v = linear(norm(x, f"{name}.norm1", 1e-6), f"{name}.attn.qkv").split(768, dim=2)
        x = x + linear(attend(q, k, v, 8, 0.0), f"{name}.attn.proj")
        x = x + mlp(norm(x, f"{name}.norm2", 1e-6), f"{name}.mlp")
    x = norm(x[:, 0], "VIT.norm", 1e-6)
    x = x * torch.sigmoid(linear(torch.relu(linear(x, "VIT.se_block.linear1")), "VIT.se_block.linear2"))
    return linear(x, "VIT.head.linear")


@torch.no_grad()
def test_logits_equal_those_of_an_independent_implementation(network: PosterV2) -> None:
    torch.manual_seed(1)
    images = torch.randn(2, 3, 224, 224)
    logits = network(images)
    assert (logits[0] - logits[1]).abs().max() > 1e-2
    torch.testing.assert_close(logits, reference(network.state_dict(), images), rtol=0, atol=1e-5)


def two_images_loss(model: PosterV2) -> torch.Tensor:
    """Of two random images with two labels in training mode; every call drops the same samples."""
    torch.manual_seed(3)
    return functional.cross_entropy(model.train()(torch.randn(2, 3, 224, 224)), torch.tensor([1, 5]))


def adam(model: PosterV2) -> torch.optim.Optimizer:
    return torch.optim.Adam([parameter for parameter in model.parameters() if parameter.requires_grad], lr=1e-4)


def test_training_changes_all_but_the_landmark_stream() -> None:
    torch.manual_seed(0)
    model = PosterV2(7)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    frozen = {name for name in before if name.startswith("face_landback.")}
    loss = two_images_loss(model)
    loss.backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is None) == (name in frozen), name
        assert parameter.grad is None or parameter.grad.any(), name
    adam(model).step()
    with torch.no_grad():
        assert two_images_loss(model) < loss
    still = {name for name, tensor in model.state_dict().items() if torch.equal(tensor, before[name])}
    assert still == frozen | {f"attn{level}.relative_position_index" for level in (1, 2, 3)}


def test_the_landmark_stream_stays_in_evaluation_mode() -> None:
    with torch.device("meta"):
        model = torch.nn.Sequential(PosterV2(7))
    assert all(module.training == ("face_landback" not in name) for name, module in model.train().named_modules())
    assert not any(module.training for module in model.eval().modules())


@pytest.mark.slow
def test_a_dozen_steps_overfit_two_images() -> None:
    torch.manual_seed(0)
    model = PosterV2(7)
    optimizer = adam(model)
    for _ in range(12):
        optimizer.zero_grad()
        loss = two_images_loss(model)
        loss.backward()
        optimizer.step()
    assert loss < 0.1
