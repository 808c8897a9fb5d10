"""The lean towers against transformers' own forward pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import transformers

from moderation.encoder.towers import DualImageTower, LeanImageTower, LeanTextTower, PooledTextTower
from tests.unit.encoder import checkpoints
from tests.unit.encoder.checkpoints import TINY, VISIONS, randomised

TOLERANCE = 1e-5


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
    config = transformers.CLIPConfig(
        text_config={**act, "num_hidden_layers": 4}, vision_config={**act, "patch_size": 32}
    )
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
    found, expected = LeanImageTower.of(tiny, torch.float32)(pixels), image_reference(tiny, pixels)
    assert (unit(found) - unit(expected)).abs().max() <= TOLERANCE
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_pixels_may_lie_channels_last(tiny: Any) -> None:
    tower, pixels = LeanImageTower.of(tiny, torch.float32), torch.randn(2, 64, 64, 3).permute(0, 3, 1, 2)
    assert torch.equal(tower(pixels), tower(pixels.contiguous()))


@torch.inference_mode()
def test_the_lean_text_tower_agrees(tiny: Any) -> None:
    ids, mask = texts(tiny, 40)
    found, expected = LeanTextTower.of(tiny, torch.float32)(ids, mask), text_reference(tiny, ids, mask)
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
    found, expected = LeanTextTower.of(model, torch.float32)(ids, mask), text_reference(model, ids, mask)
    assert (unit(found) - unit(expected)).abs().max() <= TOLERANCE


@torch.inference_mode()
def test_the_towers_of_vit_b_32_agree(base_32: Any) -> None:
    pixels = torch.randn(2, 3, 224, 224)
    found, expected = LeanImageTower.of(base_32, torch.float32)(pixels), image_reference(base_32, pixels)
    assert (unit(found) - unit(expected)).abs().max() <= TOLERANCE
    ids, mask = texts(base_32, 77)
    found, expected = LeanTextTower.of(base_32, torch.float32)(ids, mask), text_reference(base_32, ids, mask)
    assert (unit(found) - unit(expected)).abs().max() <= TOLERANCE


@torch.inference_mode()
def test_in_bfloat16_the_lean_tower_is_as_near_as_transformers_own(base_32: Any) -> None:
    pixels = torch.randn(2, 3, 224, 224)
    expected = unit(image_reference(base_32, pixels))
    lean = unit(LeanImageTower.of(base_32, torch.bfloat16)(pixels))
    base_32.to(torch.bfloat16)
    theirs = unit(image_reference(base_32, pixels.bfloat16()))
    base_32.to(torch.float32)
    assert (lean * expected).sum(-1).min() >= 0.999
    assert (lean - expected).abs().mean() <= 1.5 * (theirs - expected).abs().mean()


@torch.inference_mode()
def test_trimming_padding_changes_nothing_for_a_causal_tower(base_32: Any) -> None:
    tower = LeanTextTower.of(base_32, torch.float32)
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


def test_building_a_lean_tower_leaves_the_model_alone(tiny: Any) -> None:
    before = {name: value.clone() for name, value in tiny.state_dict().items()}
    with torch.inference_mode():
        LeanImageTower.of(tiny, torch.bfloat16)(torch.zeros(1, 3, 64, 64))
    assert all(np.array_equal(before[name], value) for name, value in tiny.state_dict().items())
