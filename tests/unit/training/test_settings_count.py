"""Every setting of a run does something: each of these fails where its setting is read and then forgotten."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import nn

from moderation.encoder.checkpoint import describe, model_of
from moderation.errors import TrainingError
from moderation.training import checkpoint, loop
from moderation.training.config import PairRun, read_config
from moderation.training.dual import Dual
from moderation.training.pairing import Pairing
from moderation.training.task import Rank
from moderation.training.tower import learning_mode
from tests.unit.training.runs import prepare, run, write

ALONE = Rank(0, 1, torch.device("cpu"))
CLIP = '[model]\nstart = "clip"\n'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("settings")
    prepare(root)
    return root


@pytest.fixture
def task(folder: Path) -> Iterator[Any]:
    made: list[Pairing] = []

    def make(sections: str, **more: Any) -> Pairing:
        settings = read_config(write(folder, "task", sections, **more))
        assert isinstance(settings, PairRun)
        made.append(Pairing(settings, ALONE))
        return made[-1]

    yield make
    for one in made:
        one.close()


def stored(folder: Path, name: str, part: str = "average.") -> dict[str, torch.Tensor]:
    tensors, _ = checkpoint.load(folder / name / "checkpoint.safetensors")
    return {key.removeprefix(part): one for key, one in tensors.items() if key.startswith(part)}


def exported(folder: Path, name: str) -> dict[str, torch.Tensor]:
    model: nn.Module = model_of(describe(str(folder / name / "encoder")))
    return model.state_dict()


def test_a_scale_at_its_bound_still_learns_and_comes_back(folder: Path) -> None:
    found = describe(str(folder / "clip"))
    model = model_of(found)
    with torch.no_grad():
        model.logit_scale.fill_(math.log(100) + 1e-3)  # OpenAI's stand at the bound, rounded up
    model.logit_scale.requires_grad_(True)
    dual = Dual(model, found.family, found.card, largest_scale=100.0, bias=0.0)
    assert dual.scale().item() == pytest.approx(100.0)
    dual.scale().backward()
    assert model.logit_scale.grad is not None
    assert model.logit_scale.grad.item() == pytest.approx(100.0)


def test_no_step_leaves_a_scale_beyond_its_bound_nor_does_the_export(folder: Path) -> None:
    seen = run(folder, "bound", f"{CLIP}[loss]\nlargest_scale = 10.0", steps=4)
    assert all(1.0 <= one.told["scale"] <= 10.0 + 1e-4 for one in seen)
    assert exported(folder, "bound")["logit_scale"].exp().item() <= 10.0 + 1e-4


def test_a_sigmoids_bias_is_exported_where_the_checkpoint_has_a_place_for_it(folder: Path) -> None:
    run(folder, "bias", '[model]\nstart = "siglip"\n[loss]\nkind = "sigmoid"', steps=5)
    learned = stored(folder, "bias")["bias"]
    before = transformers.SiglipModel.from_pretrained(folder / "siglip").logit_bias
    assert learned.item() != pytest.approx(before.item(), abs=1e-4)
    assert exported(folder, "bias")["logit_bias"].item() == pytest.approx(learned.item())


def tokens(dual: Dual) -> int:
    """How many of a picture's tokens reach the image tower's layers."""
    met: list[int] = []
    embeddings = dual.model.vision_model.embeddings
    handle = embeddings.register_forward_hook(lambda _module, _given, made: met.append(made.shape[1]))
    with torch.no_grad():
        dual.images(torch.zeros(2, 3, 48, 48))
    handle.remove()
    return met[0]


@pytest.mark.parametrize("more", ["", "lora = {rank = 2}\n", 'lock = ["text"]\n'])
def test_the_stated_share_of_patches_is_left_out_while_learning_only(more: str, task: Any) -> None:
    dual = task(f"{CLIP}patch_dropout = 0.34\n{more}").model
    learning_mode(dual)
    assert tokens(dual) == 1 + 6  # of nine patches, and the class token
    dual.eval()
    assert tokens(dual) == 1 + 9


def test_patches_of_a_locked_tower_are_not_left_out(task: Any) -> None:
    with pytest.raises(TrainingError, match="the image tower is locked"):
        task(f'{CLIP}patch_dropout = 0.5\nlock = ["image"]')


@pytest.mark.parametrize(("more", "times"), [("", 1), ("checkpointing = true", 2)])
def test_activations_are_made_twice_where_they_are_not_kept(more: str, times: int, task: Any) -> None:
    made = task(CLIP + more)
    learning_mode(made.model)
    calls: list[int] = []
    for tower in (made.model.model.vision_model, made.model.model.text_model):
        tower.encoder.layers[0].mlp.fc1.register_forward_hook(lambda *_: calls.append(1))
    batch = next(made.batches(0, 1))
    images, texts = made.model.images(batch.pixels), made.model.model.text_model(batch.ids).pooler_output
    (images.sum() + texts.sum()).backward()
    assert len(calls) == 2 * times


def test_the_heads_learn_alone_where_both_towers_are_locked(folder: Path) -> None:
    seen = run(folder, "heads", f'{CLIP}lock = ["image", "text"]\nprojections = true', steps=20, batch=12)
    assert sum(one.loss for one in seen[-4:]) / 4 < 0.95 * sum(one.loss for one in seen[:2]) / 2
    before, after = transformers.CLIPModel.from_pretrained(folder / "clip").state_dict(), exported(folder, "heads")
    moved = {name for name, one in after.items() if not torch.equal(one.float(), before[name].float())}
    assert moved <= {"visual_projection.weight", "text_projection.weight", "logit_scale"}
    assert {"visual_projection.weight", "text_projection.weight"} <= moved
    with pytest.raises(TrainingError, match="siglip has none beside its towers"):
        run(folder, "headless", '[model]\nstart = "siglip"\nprojections = true')


def test_half_precision_is_not_full_precision(folder: Path) -> None:
    half, full = run(folder, "half", CLIP, top='precision = "bf16"', steps=2), run(folder, "full", CLIP, steps=2)
    assert half[0].loss != full[0].loss
    assert half[0].loss == pytest.approx(full[0].loss, rel=0.1)


def test_a_student_moves_towards_its_teacher(folder: Path, task: Any) -> None:
    taught = '[loss]\nteacher = "clip"\nteacher_share = 1.0'
    seen = run(folder, "student", f'[model]\nstart = "vit"\n{taught}', steps=25)
    own = run(folder, "no-teacher", '[model]\nstart = "vit"', steps=25)
    made = task(f'[model]\nstart = "vit"\n{taught}')
    batch = next(made.batches(0, 1))

    def away(name: str) -> float:
        made.model.load_state_dict(stored(folder, name))
        with torch.no_grad():
            return float(made.loss(made.model.eval()(batch.pixels, batch.ids, batch.mask), batch))

    assert away("student") < away("no-teacher")
    assert [one.loss for one in seen] != [one.loss for one in own]


@pytest.mark.parametrize("change", ["tower_rate = 1e-5", "rate = 1e-5", "weight_decay = 5.0", "clip = 1e-4"])
def test_each_number_of_the_optimiser_moves_the_weights(change: str, folder: Path) -> None:
    name = change.split(" = ", maxsplit=1)[0]
    for version in ("base", name):
        path = write(folder, version, '[model]\nstart = "clip"', steps=3)
        text = path.read_text(encoding="utf-8")
        key = change.split(" = ", maxsplit=1)[0]
        lines = [line for line in text.splitlines() if not line.startswith(f"{key} =")] if version == name else None
        if lines is not None:
            lines.insert(lines.index("[optimiser]") + 1, change)
            path.write_text("\n".join(lines), encoding="utf-8")
        if not (folder / version / "checkpoint.safetensors").exists():
            loop.train(path)
    base, other = stored(folder, "base", "model."), stored(folder, name, "model.")
    assert any(not torch.equal(base[key], other[key]) for key in base)


def test_norms_biases_and_the_scale_do_not_decay(task: Any) -> None:
    from moderation.training.state import State

    made = task(CLIP)
    settings = made._run
    groups = State(settings, made, ALONE).optimiser.param_groups
    for group in groups:
        assert all((one.ndim > 1) == (group["weight_decay"] > 0) for one in group["params"])


def test_a_run_over_other_data_does_not_go_on(folder: Path) -> None:
    rows = (folder / "captions.jsonl").read_text(encoding="utf-8")
    path = write(folder, "grown", CLIP)
    path.write_text(path.read_text(encoding="utf-8").replace("captions.jsonl", "grown.jsonl"), encoding="utf-8")
    (folder / "grown.jsonl").write_text(rows, encoding="utf-8")
    loop.train(path)
    (folder / "grown.jsonl").write_text(
        rows + json.dumps({"path": "pictures/0.png", "caption": "more"}) + "\n", encoding="utf-8"
    )
    with pytest.raises(TrainingError, match="of another run: pairs was 48 and is 49"):
        loop.train(path, resume=True)


def test_a_rate_that_is_never_reached_is_said(folder: Path) -> None:
    said: list[str] = []
    loop.train(write(folder, "short", CLIP, steps=2), note=said.append)
    assert said == ["the rate never reaches its full value: warm_up 2 and cool_down 2 are more than 2 steps"]
