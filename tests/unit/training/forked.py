"""`moderation train` in real processes that are forked from one that has imported torch already: each that starts anew takes seven seconds for that."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

import peft  # noqa: F401
import torch.utils.tensorboard.writer  # noqa: F401
import transformers.models.clip.modeling_clip
import transformers.models.siglip.modeling_siglip  # noqa: F401

import moderation.training.loop  # noqa: F401  these, in the process that the others are forked from
from moderation.cli import main

_SERVER = multiprocessing.get_context("forkserver")


def prepare() -> None:
    """Say what the process that others are forked from imports: there is one for all tests of a worker, and who starts it decides."""
    _SERVER.set_forkserver_preload(["tests.unit.training.test_ranks", __name__])


def started(config: Path, *more: str, ranks: int = 1, before: Callable[[], None] | None = None) -> list[BaseProcess]:
    """One process a rank, told of each other as torchrun tells them; what each says goes to files beside `config`."""
    prepare()
    with socket.create_server(("127.0.0.1", 0)) as one:
        port = str(one.getsockname()[1])
    told = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(ranks)}
    found: list[BaseProcess] = []
    for rank in range(ranks):
        mine = {"RANK": str(rank), "LOCAL_RANK": str(rank)} | told if ranks > 1 else {}
        words = ("train", str(config), *more)
        process = _SERVER.Process(target=_train, args=(words, _log(config, rank), mine, before), daemon=True)
        process.start()
        found.append(process)
    return found


def ended(config: Path, processes: Sequence[BaseProcess], *, seconds: float = 300) -> tuple[list[int | None], str]:
    """Exit codes, negative for a signal, and all that was said, once the processes have ended; None for one that hangs, which is killed."""
    for process in processes:
        process.join(seconds)
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
        process.join()
    return codes, "".join(_log(config, rank).read_text(encoding="utf-8") for rank in range(len(processes)))


def _log(config: Path, rank: int) -> Path:
    return config.with_suffix(f".rank-{rank}.log")


def _train(words: Sequence[str], log: Path, told: dict[str, str], before: Callable[[], None] | None) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the process it was forked from ignores it
    os.environ.update(told)
    with log.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if before:
        before()
    raise SystemExit(main.run(words))
