"""The parts of POSTER V2 against their formulas, written out."""

import math

import numpy as np
import pytest
import torch

from components.shared.models.zoo.poster_v2.attention import (
    FeedForward,
    NormalizedTokens,
    VisionTransformer,
    WindowAttention,
    relative_position_index,
)
from components.shared.models.zoo.poster_v2.streams import IrUnit


def attention_by_hand(layer: WindowAttention, tokens: np.ndarray, landmarks: np.ndarray, window: int) -> np.ndarray:
    """One image, cell by cell and head by head: tokens (w*w,64), landmarks (64,w,w) -> (w*w,64)."""
    values = {name: tensor.double().numpy() for name, tensor in layer.state_dict().items()}
    dim, cells = tokens.shape[1], [(row, column) for row in range(window) for column in range(window)]
    projected = tokens @ values["qkv.weight"].T + values["qkv.bias"]
    out = np.zeros_like(tokens)
    for head in range(dim // 32):
        channels = range(32 * head, 32 * head + 32)
        for i, (row, column) in enumerate(cells):
            scores = []
            for j, (other_row, other_column) in enumerate(cells):
                score = sum(landmarks[c, row, column] * projected[j, c] for c in channels) / math.sqrt(32)
                offset = (row - other_row + window - 1) * (2 * window - 1) + column - other_column + window - 1
                scores.append(score + values["relative_position_bias_table"][offset, head])
            weights = np.exp(scores) / np.exp(scores).sum()
            for c in channels:
                out[i, c] = sum(weight * projected[j, dim + c] for j, weight in enumerate(weights))
    return out @ values["proj.weight"].T + values["proj.bias"]


def test_window_attention_is_its_formula() -> None:
    torch.manual_seed(0)
    layer = WindowAttention(64, 3)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    tokens, landmarks = torch.randn(2, 9, 64), torch.randn(2, 64, 3, 3)
    found = layer(tokens, landmarks).detach().numpy()
    for image in range(2):
        expected = attention_by_hand(layer, tokens[image].double().numpy(), landmarks[image].double().numpy(), 3)
        np.testing.assert_allclose(found[image], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("window", [2, 7, 14])
def test_relative_position_index_depends_on_the_offset_only(window: int) -> None:
    index = relative_position_index(window)
    assert index.shape == (window**2, window**2)
    assert index.dtype == torch.int64
    cells = torch.arange(window**2)
    rows = cells.div(window, rounding_mode="floor")
    offsets = torch.stack([rows[:, None] - rows, (cells % window)[:, None] - cells % window], dim=-1)
    pairs = torch.cat([offsets.reshape(-1, 2), index.reshape(-1, 1)], dim=1).unique(dim=0)
    assert len(pairs) == (2 * window - 1) ** 2  # one number per offset
    # unique() sorts by row offset, then column offset: the numbers count up in that order, from 0
    assert pairs[:, 2].tolist() == list(range((2 * window - 1) ** 2))


def test_tokens_are_the_cells_row_by_row_normalized_over_channels() -> None:
    maps = torch.randn(2, 64, 2, 3)
    tokens = NormalizedTokens(64)(maps)
    cell = maps[1, :, 1, 0]
    expected = (cell - cell.mean()) / torch.sqrt(cell.var(correction=0) + 1e-5)
    torch.testing.assert_close(tokens[1, 3], expected)


def test_feed_forward_drops_whole_samples_in_training_only() -> None:
    torch.manual_seed(0)
    layer = FeedForward(8, 0.25)
    torch.nn.init.ones_(layer.gamma1)
    torch.nn.init.zeros_(layer.gamma2)
    tokens, attended = torch.randn(400, 5, 8), torch.randn(400, 5, 8)
    torch.testing.assert_close(layer.eval()(tokens, attended), tokens + attended)
    shares = ((layer.train()(tokens, attended) - tokens) / attended).flatten(1)
    kept = shares.mean(dim=1) > 0.5
    torch.testing.assert_close(shares, torch.where(kept, 1 / 0.75, 0.0)[:, None].expand_as(shares), atol=1e-3, rtol=0)
    assert 0.65 < kept.float().mean() < 0.85


def test_feed_forward_draws_from_the_generator_of_torch() -> None:
    layer, tokens = FeedForward(8, 0.25).train(), torch.randn(64, 5, 8)
    torch.nn.init.ones_(layer.gamma1)
    outputs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outputs.append(layer(tokens, tokens))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])


def test_feed_forward_scales_start_small_and_act_per_channel() -> None:
    layer = FeedForward(8, 0.0)
    assert torch.equal(layer.gamma1, torch.full((8,), 1e-5))
    assert torch.equal(layer.gamma2, torch.full((8,), 1e-5))
    layer.gamma1.data = torch.arange(8.0)
    layer.gamma2.data.fill_(2)
    tokens, attended = torch.randn(2, 5, 8), torch.randn(2, 5, 8)
    middle = tokens + torch.arange(8) * attended
    torch.testing.assert_close(layer(tokens, attended), middle + 2 * layer.mlp(layer.norm(middle)))


@pytest.mark.parametrize(("inputs", "stride"), [(16, 1), (16, 2), (8, 2)])
def test_ir_unit_shortcut(inputs: int, stride: int) -> None:
    unit = IrUnit(inputs, 16, stride).eval()
    torch.nn.init.zeros_(unit.res_layer[4].weight)  # the residual branch gives 0
    maps = torch.randn(2, inputs, 6, 6)
    strided = maps[:, :, ::stride, ::stride]
    if inputs != 16:
        strided = torch.einsum("nchw,oc->nohw", strided, unit.shortcut_layer[0].weight[:, :, 0, 0]) / math.sqrt(
            1 + 1e-5
        )
    torch.testing.assert_close(unit(maps), strided)


def test_the_class_token_comes_first_and_is_gated() -> None:
    torch.manual_seed(0)
    transformer = VisionTransformer(3, 7).eval()
    tokens = torch.randn(2, 3, 768)
    rows = torch.cat([transformer.cls_token.expand(2, 1, 768), tokens], dim=1) + transformer.pos_embed
    for block in transformer.blocks:
        parts = block.attn.qkv(block.norm1(rows)).view(2, 4, 3, 8, 96)
        heads = []
        for head in range(8):
            queries, keys, values = (parts[:, :, part, head] for part in range(3))
            heads.append(torch.softmax(queries @ keys.mT / math.sqrt(96), dim=2) @ values)
        rows = rows + block.attn.proj(torch.cat(heads, dim=2))
        rows = rows + block.mlp(block.norm2(rows))
    features = torch.nn.functional.layer_norm(
        rows[:, 0], (768,), transformer.norm.weight, transformer.norm.bias, eps=1e-6
    )
    gate = transformer.se_block
    features = features * (1 / (1 + torch.exp(-gate.linear2(gate.linear1(features).clamp(min=0)))))
    torch.testing.assert_close(transformer.features(tokens), features, rtol=1e-4, atol=1e-5)
