"""The lean towers against transformers' own forward pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import transformers

from moderation.encoder import checkpoint
from moderation.encoder.bert import Bert
from moderation.encoder.mobilenet import MobileNet
from moderation.encoder.towers import (
    DualImageTower,
    FeatureImageTower,
    FeatureTextTower,
    LeanImageTower,
    LeanTextTower,
    PooledTextTower,
)
from moderation.encoder.weights import UnusualError, Weights
from tests.unit.encoder import checkpoints
from tests.unit.encoder.checkpoints import TINY, VISIONS, randomised

TOLERANCE = 1e-5


def lean(tower: Any, model: Any, dtype: torch.dtype) -> Any:
    return tower.of(Weights.of(model), model.config.to_dict(), dtype)


@pytest.fixture(params=["quick_gelu", "gelu"])
def tiny(request: pytest.FixtureRequest) -> Any:
    torch.manual_seed(5)
    special = {"vocab_size": 60, "bos_token_id": 58, "eos_token_id": 59, "pad_token_id": 59}
    act = {"hidden_act": request.param}
    config = transformers.CLIPConfig(
        text_config={**TINY, **special, **act, "max_position_embeddings": 40},
        vision_config={**TINY, **act, "image_size": 64, "patch_size": 16},
        projection_dim=32,
    )
    return randomised(transformers.CLIPModel(config))


@pytest.fixture(scope="module")
def base_32() -> Any:
    """The true shapes of ViT-B/32, weights as transformers initialises them, biases and norms moved."""
    torch.manual_seed(6)
    act = {"hidden_act": "quick_gelu"}
    config = transformers.CLIPConfig(text_config=act, vision_config={**act, "patch_size": 32})
    assert (config.text_config.num_hidden_layers, config.vision_config.num_hidden_layers) == (12, 12)
    model = transformers.CLIPModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.02)
    return model


def texts(model: Any, length: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids with the end token at different places, padded with it, and their mask."""
    generator = torch.Generator().manual_seed(seed)
    end = model.config.text_config.eos_token_id
    ids = torch.randint(0, end - 2, (6, length), generator=generator)
    ends = torch.tensor([1, 2, 3, length // 2, length - 2, length - 1])
    mask = (torch.arange(length) <= ends[:, None]).long()
    ids[mask == 0] = end
    ids[torch.arange(6), ends] = end
    return ids, mask


def unit(vectors: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(vectors.float(), dim=-1)


def image_reference(model: Any, pixels: torch.Tensor) -> torch.Tensor:
    return model.get_image_features(pixel_values=pixels).pooler_output


def text_reference(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return model.get_text_features(input_ids=ids, attention_mask=mask).pooler_output


@torch.inference_mode()
def test_the_lean_image_tower_agrees(tiny: Any) -> None:
    pixels = torch.randn(3, 3, 64, 64)
    found, expected = lean(LeanImageTower, tiny, torch.float32)(pixels), image_reference(tiny, pixels)
    assert (unit(found) - unit(expected)).abs().max() <= TOLERANCE
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_pixels_may_lie_channels_last(tiny: Any) -> None:
    tower, pixels = lean(LeanImageTower, tiny, torch.float32), torch.randn(2, 64, 64, 3).permute(0, 3, 1, 2)
    assert torch.equal(tower(pixels), tower(pixels.contiguous()))


@torch.inference_mode()
def test_the_lean_text_tower_agrees(tiny: Any) -> None:
    ids, mask = texts(tiny, 40)
    found, expected = lean(LeanTextTower, tiny, torch.float32)(ids, mask), text_reference(tiny, ids, mask)
    assert (unit(found) - unit(expected)).abs().max() <= TOLERANCE


@torch.inference_mode()
def test_the_end_token_of_old_configurations() -> None:
    """transformers #24773: an eos_token_id of 2 means the largest id of a row."""
    torch.manual_seed(7)
    config = transformers.CLIPConfig(
        text_config={**TINY, "vocab_size": 60, "max_position_embeddings": 40, "eos_token_id": 2, "bos_token_id": 0},
        vision_config={**TINY, "image_size": 32, "patch_size": 16},
        projection_dim=32,
    )
    model = randomised(transformers.CLIPModel(config))
    ids = torch.randint(3, 58, (4, 12))
    ids[torch.arange(4), torch.tensor([3, 5, 8, 11])] = 59
    mask = torch.ones_like(ids)
    found, expected = lean(LeanTextTower, model, torch.float32)(ids, mask), text_reference(model, ids, mask)
    assert (unit(found) - unit(expected)).abs().max() <= TOLERANCE


@torch.inference_mode()
def test_the_towers_of_vit_b_32_agree(base_32: Any) -> None:
    pixels = torch.randn(2, 3, 224, 224)
    found, expected = lean(LeanImageTower, base_32, torch.float32)(pixels), image_reference(base_32, pixels)
    assert (unit(found) - unit(expected)).abs().max() <= TOLERANCE
    ids, mask = texts(base_32, 77)
    found, expected = lean(LeanTextTower, base_32, torch.float32)(ids, mask), text_reference(base_32, ids, mask)
    assert (unit(found) - unit(expected)).abs().max() <= TOLERANCE


@torch.inference_mode()
def test_in_bfloat16_the_lean_tower_is_as_near_as_transformers_own(base_32: Any) -> None:
    pixels = torch.randn(2, 3, 224, 224)
    expected = unit(image_reference(base_32, pixels))
    ours = unit(lean(LeanImageTower, base_32, torch.bfloat16)(pixels))
    base_32.to(torch.bfloat16)
    theirs = unit(image_reference(base_32, pixels.bfloat16()))
    base_32.to(torch.float32)
    assert (ours * expected).sum(-1).min() >= 0.999
    assert (ours - expected).abs().mean() <= 1.5 * (theirs - expected).abs().mean()


def own_forward(family: str, model: Any, pixels: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor) -> list[Any]:
    """The unit vectors of texts, and of pictures where the family has them, as transformers' own forward gives them."""
    if family == "sentence":
        hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
        return [unit((hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))]
    seen = {} if family == "siglip" else {"attention_mask": mask}
    output = model(input_ids=ids, pixel_values=pixels.to(model.dtype), **seen)
    return [unit(output.text_embeds), unit(output.image_embeds)]


FAMILIES: dict[str, Any] = {
    "clip": checkpoints.clip,
    "siglip": checkpoints.siglip,
    "dual": lambda folder: checkpoints.dual(folder, "vit"),
    "sentence": checkpoints.sentence,
}


@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_in_bfloat16_every_family_is_as_near_as_transformers_own(family: str, tmp_path: Any) -> None:
    model = FAMILIES[family](tmp_path)
    encoder: Any = checkpoint.load(str(tmp_path), device="cpu", dtype="bfloat16")
    pixels = torch.randn(6, 3, 48, 48, generator=torch.Generator().manual_seed(1))
    ids = torch.randint(0, 50, (6, 12), generator=torch.Generator().manual_seed(2))
    mask = (torch.arange(12) <= torch.tensor([[2], [4], [6], [8], [10], [11]])).long()
    ids[torch.arange(6), mask.sum(1) - 1] = 59  # the end token of a CLIP
    expected = own_forward(family, model, pixels, ids, mask)
    theirs = own_forward(family, model.to(torch.bfloat16), pixels, ids, mask)
    found = [encoder.text.tower(ids, mask), *([encoder.image.tower(pixels)] if encoder.image else [])]
    assert {vectors.dtype for vectors in found} == {torch.bfloat16}
    for ours, other, true in zip(map(unit, found), theirs, expected, strict=True):
        assert (ours * true).sum(-1).min() >= 0.999
        assert (ours - true).abs().mean() <= 1.5 * (other - true).abs().mean()


@pytest.mark.soak
@torch.inference_mode()
def test_soak_the_towers_of_siglip_b_16_agree() -> None:
    torch.manual_seed(8)
    model = randomised(transformers.SiglipModel(transformers.SiglipConfig()))
    vision, text = model.config.vision_config, model.config.text_config
    assert (vision.image_size, vision.patch_size, vision.num_hidden_layers, vision.hidden_size) == (224, 16, 12, 768)
    assert (text.vocab_size, text.max_position_embeddings, text.num_hidden_layers) == (32000, 64, 12)
    pixels, ids = torch.randn(2, 3, 224, 224), torch.randint(0, 32000, (2, 64))
    mask = (torch.arange(64) < torch.tensor([[5], [64]])).long()
    text_vectors, image_vectors = own_forward("siglip", model, pixels, ids, mask)
    assert (unit(FeatureImageTower(model)(pixels)) - image_vectors).abs().max() <= TOLERANCE
    assert (unit(FeatureTextTower(model)(ids, mask)) - text_vectors).abs().max() <= TOLERANCE


@torch.inference_mode()
def test_trimming_padding_changes_nothing_for_a_causal_tower(base_32: Any) -> None:
    tower = lean(LeanTextTower, base_32, torch.float32)
    ids, mask = texts(base_32, 16)
    padded = torch.full((6, 77), base_32.config.text_config.eos_token_id)
    padded[:, :16] = ids
    assert (unit(tower(ids, mask)) - unit(tower(padded, mask))).abs().max() <= 2e-6


@pytest.mark.parametrize("vision", VISIONS)
@torch.inference_mode()
def test_dual_encoders_agree_with_their_own_forward(vision: str, tmp_path: Any) -> None:
    model = checkpoints.dual(tmp_path, vision)
    pixels, ids = torch.randn(3, 3, 48, 48), torch.randint(0, 50, (3, 9))
    mask = torch.tensor([[1] * 9, [1] * 5 + [0] * 4, [1] * 2 + [0] * 7])
    if vision == "resnet":  # transformers' own forward projects [n, d, 1, 1] and fails
        pooled = model.vision_model(pixel_values=pixels).pooler_output
        assert pooled.shape == (3, 40, 1, 1)
        image = unit(model.visual_projection(pooled[:, :, 0, 0]))
    else:
        image = model(input_ids=ids, attention_mask=mask, pixel_values=pixels).image_embeds
    text = unit(model.text_projection(model.text_model(input_ids=ids, attention_mask=mask).pooler_output))
    assert (unit(DualImageTower(model)(pixels)) - image).abs().max() <= TOLERANCE
    found = PooledTextTower(model.text_model, "pooler", model.text_projection)(ids, mask)
    assert (unit(found) - text).abs().max() <= TOLERANCE


@torch.inference_mode()
def test_mean_pooling_leaves_padding_out(tmp_path: Any) -> None:
    model = checkpoints.sentence(tmp_path)
    tower = PooledTextTower(model, "mean")
    ids = torch.tensor([[3, 8, 9, 4, 0, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1, 0, 0, 0]])
    hidden = model(input_ids=ids[:, :4]).last_hidden_state
    assert torch.allclose(tower(ids, mask), hidden.mean(1), atol=1e-5)
    assert torch.allclose(PooledTextTower(model, "cls")(ids, mask), hidden[:, 0], atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [1, 3, 16])
@torch.inference_mode()
def test_our_mobilenet_has_every_bit_of_transformers_own(dtype: torch.dtype, rows: int, tmp_path: Any) -> None:
    model = checkpoints.dual(tmp_path, "mobilenet").vision_model.to(dtype).eval()
    ours = MobileNet.of(Weights(model.state_dict(), dtype=dtype), model.config.to_dict())
    for side in (96, 61, 32):  # padding hangs on the side
        pixels = torch.randn(rows, 3, side, side, dtype=dtype)
        assert torch.equal(ours(pixels), model(pixel_values=pixels).pooler_output.flatten(1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("masked", [True, False])
@torch.inference_mode()
def test_our_bert_has_every_bit_of_transformers_own(dtype: torch.dtype, masked: bool, tmp_path: Any) -> None:
    model = checkpoints.dual(tmp_path, "vit").text_model.to(dtype).eval()
    ours = Bert.of(Weights(model.state_dict(), dtype=dtype), model.config.to_dict(), pools=True)
    for rows, length in ((1, 4), (3, 9), (16, 40)):
        ids, mask = torch.randint(0, 50, (rows, length)), torch.ones(rows, length, dtype=torch.int64)
        if masked:
            mask[:, 3 + rows // 4 :] = 0
        found, expected = ours(ids, mask), model(input_ids=ids, attention_mask=mask)
        assert torch.equal(found.last_hidden_state, expected.last_hidden_state)
        assert found.pooler_output is not None
        assert torch.equal(found.pooler_output, expected.pooler_output)


def test_weights_that_are_not_there_or_quantised_or_of_another_shape_are_unusual() -> None:
    halves, eighths = torch.zeros(2, 3, dtype=torch.float16), torch.zeros(2, dtype=torch.int8)
    weights = Weights({"a.b.weight": halves, "a.b.quantised": eighths})
    assert weights.under("a").under("b").take("weight", 2, 3).dtype is torch.float32
    assert weights.count("a") == 8
    assert weights.count("a.b.w") == 0
    for name, shape in (("b.weight", (3, 2)), ("b.bias", (2,)), ("b.quantised", (2,))):
        with pytest.raises(UnusualError, match=f"a.{name}"):
            weights.under("a").take(name, *shape)


def test_building_a_lean_tower_leaves_the_model_alone(tiny: Any) -> None:
    before = {name: value.clone() for name, value in tiny.state_dict().items()}
    with torch.inference_mode():
        lean(LeanImageTower, tiny, torch.bfloat16)(torch.zeros(1, 3, 64, 64))
    assert all(np.array_equal(before[name], value) for name, value in tiny.state_dict().items())
