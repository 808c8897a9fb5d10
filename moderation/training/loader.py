"""stub"""
from types import SimpleNamespace
from typing import Any
import torch
class Loader:
    wait_share: float = 0.0
    broken: Any = SimpleNamespace(total=0)
    def __init__(self, run: Any, card: Any, rank: Any) -> None:
        self.run, self.card, self.rank = run, card, rank
    def batch(self, step: int) -> Any:
        g = torch.Generator().manual_seed(step)
        n = self.run.batch
        k = torch.randint(4, (n,), generator=g)
        base = torch.randn(4, 3, 1, 1, generator=torch.Generator().manual_seed(5))
        px = base[k] + 0.1 * torch.randn(n, 3, self.card.size, self.card.size, generator=g)
        words = ["a gun", "a cat", "gun cat a", "cat"]
        own = slice(self.rank.number * n // self.rank.world, (self.rank.number + 1) * n // self.rank.world)
        return SimpleNamespace(pixels=px[own], captions=[words[i] for i in k.tolist()][own])
    def close(self) -> None: ...
def open_loader(run: Any, card: Any, rank: Any) -> Loader: return Loader(run, card, rank)
