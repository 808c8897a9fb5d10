"""Distils all-MiniLM-L6-v2 into three of its own layers with a pruned vocabulary, aimed straight at the centred text space."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModel, BertConfig, BertModel, BertTokenizerFast

POSITIONS = 48
KEPT_LAYERS = (0, 2, 5)


def choose_vocabulary(folder: Path, texts: Sequence[str], *, size: int) -> list[int]:
    """Ids of the teacher's tokens to keep, rising: the special ones, single letters and digits, then what `texts` use most.

    The teacher's ids are about in order of frequency in English; what is left of `size` goes to the most frequent.
    """
    vocabulary = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    kept = {
        i
        for i, token in enumerate(vocabulary)
        if token.startswith("[") and token.endswith("]") and not token.startswith("[unused")
    }
    kept |= {i for i, token in enumerate(vocabulary) if len(token.removeprefix("##")) == 1 and ord(token[-1]) < 0x250}
    tokenizer = BertTokenizerFast(vocab=str(folder / "vocab.txt"), do_lower_case=True)
    counts = Counter(token for ids in tokenizer(list(texts), add_special_tokens=False)["input_ids"] for token in ids)
    for token, _ in counts.most_common():
        if len(kept) >= size:
            break
        kept.add(token)
    for token in range(1996, len(vocabulary)):
        if len(kept) >= size:
            break
        kept.add(token)
    return sorted(kept)


def write_tokenizer(folder: Path, kept: Sequence[int], out: Path) -> BertTokenizerFast:
    """The teacher's word-piece tokenizer over the kept tokens, saved to `out`."""
    vocabulary = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    tokenizer = BertTokenizerFast(
        vocab={vocabulary[old]: new for new, old in enumerate(kept)}, do_lower_case=True, model_max_length=POSITIONS
    )
    tokenizer.save_pretrained(out)
    return tokenizer


def start_student(folder: Path, kept: Sequence[int]) -> BertModel:
    """A BertModel of the teacher's kept rows and layers; its pooler starts as the identity."""
    teacher = AutoModel.from_pretrained(folder)
    config = BertConfig(**{
        **teacher.config.to_dict(), "vocab_size": len(kept), "num_hidden_layers": len(KEPT_LAYERS),
        "max_position_embeddings": POSITIONS, "dtype": "float32",
    })  # fmt: skip
    student = BertModel(config)
    with torch.no_grad():
        mine, theirs = student.embeddings, teacher.embeddings
        mine.word_embeddings.weight.copy_(theirs.word_embeddings.weight[list(kept)])
        mine.position_embeddings.weight.copy_(theirs.position_embeddings.weight[:POSITIONS])
        mine.token_type_embeddings.weight.copy_(theirs.token_type_embeddings.weight)
        mine.LayerNorm.load_state_dict(theirs.LayerNorm.state_dict())
        for layer, source in zip(student.encoder.layer, KEPT_LAYERS, strict=True):
            layer.load_state_dict(teacher.encoder.layer[source].state_dict())
        nn.init.eye_(student.pooler.dense.weight)
        nn.init.zeros_(student.pooler.dense.bias)
    return student


class TextTower(nn.Module):
    """Token ids to unit vectors of the space, by BERT's own pooler and a projection."""

    def __init__(self, tower: BertModel, *, width: int) -> None:
        super().__init__()
        self.tower, self.projection = tower, nn.Linear(tower.config.hidden_size, width, bias=False)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Unit vectors float32 [n, width]."""
        pooled = self.tower(input_ids=ids, attention_mask=mask).pooler_output
        return functional.normalize(self.projection(pooled).float(), dim=1)


def distil(
    model: TextTower,
    ids: Sequence[Sequence[int]],
    wanted: np.ndarray,
    *,
    steps: int,
    batch: int,
    rate: float,
    seed: int,
    every: int = 50,
) -> list[float]:
    """Teach `model` that text i (token ids) has vector wanted[i]; texts of like length run together. Returns the losses."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01, betas=(0.9, 0.98))
    lengths = np.array([len(row) for row in ids])
    rng = np.random.default_rng(seed)
    losses: list[float] = []
    queue: list[np.ndarray] = []
    model.train()
    for module in model.modules():  # the teacher's vectors are exact: dropout only blurs them
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    for step in range(steps):
        if not queue:
            order = np.lexsort((rng.random(len(ids)), lengths + rng.integers(0, 2, len(ids))))
            batches = [order[i : i + batch] for i in range(0, len(order) - batch + 1, batch)]
            queue = [batches[i] for i in rng.permutation(len(batches))]
        rows = queue.pop()
        longest = int(lengths[rows].max())
        padded = torch.zeros(len(rows), longest, dtype=torch.long)
        for i, row in enumerate(rows):
            padded[i, : lengths[row]] = torch.tensor(ids[row])
        share = min(1.0, (step + 1) / 50, (steps - step) / (0.5 * steps))
        for group in optimiser.param_groups:
            group["lr"] = rate * share
        target = torch.from_numpy(wanted[rows].astype(np.float32))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            vectors = model(padded, (torch.arange(longest) < torch.from_numpy(lengths[rows])[:, None]).long())
        # each text to its own vector, and all likenesses inside the batch as the teacher has them
        loss = (1 - (vectors * target).sum(1)).mean() + 2.0 * ((vectors @ vectors.T - target @ target.T) ** 2).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        losses.append(loss.item())
        if (step + 1) % every == 0:
            print(f"text step {step + 1}: {np.mean(losses[-every:]):.4f}", flush=True)
    return losses


def save_student(model: TextTower, out: Path) -> None:
    """The tower in Hugging Face's layout and its projection beside it."""
    model.tower.save_pretrained(out)
    np.save(out / "projection.npy", model.projection.weight.detach().numpy())
