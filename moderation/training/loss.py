"""The contrastive loss of image vectors against fixed text vectors: in-batch softmax both ways, with soft targets."""

import torch
from torch import Tensor
from torch.nn import functional


def targets(objects: Tensor, texts: Tensor, *, neighbours: float, temperature: float) -> Tensor:
    """What each picture's softmax over the batch's texts should be, rows summing to one, float32 [n, n].

    Pictures of one object share their mass evenly. A share `neighbours` of the mass goes to texts by their likeness to the picture's own
    text (softmax of cosine / temperature), so that a near synonym is not pushed away like a stranger. `objects` int [n]; `texts` unit [n, d].
    """
    same = (objects[:, None] == objects[None, :]).float()
    own = same / same.sum(dim=1, keepdim=True)
    if neighbours == 0.0:
        return own
    near = torch.softmax(texts @ texts.T / temperature, dim=1)
    return (1.0 - neighbours) * own + neighbours * near


def contrastive(images: Tensor, texts: Tensor, wanted: Tensor, scale: Tensor) -> Tensor:
    """Mean of the image-to-text and text-to-image cross entropies against `wanted` [n, n]; `images`, `texts` unit [n, d]; scalar."""
    logits = scale * images @ texts.T
    down = wanted.T / wanted.T.sum(dim=1, keepdim=True)
    return 0.5 * (functional.cross_entropy(logits, wanted) + functional.cross_entropy(logits.T, down))
