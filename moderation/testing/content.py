"""What the kit shows a plugin: made vectors, content on which plugins break, and an interpreter that watches an import."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import numpy as np

from moderation.encoder.base import Vectors
from moderation.item import Part

# Texts and files on which detectors break: empty, endless, of no language, cut off, and not what they seem.
HOSTILE_TEXTS = (
    "",
    " ",
    "\x00",
    "a" * 100_000,
    "\u202e\u200b\ufeff",
    "\U0001f3f4\u200d\u2620\ufe0f" * 50,
    "%s{}\\N",
    "<b>",
)
HOSTILE_FILES = (b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"not a picture", bytes(10_000))

# Run in a fresh interpreter: whoever looks for a host or opens a connection while the module is imported is caught at it.
_WATCHED = """
import importlib, os, sys
def watch(event, arguments):
    if event in {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "urllib.Request"}:
        print(f"it asked the network ({event})", file=sys.stderr, flush=True)
        os._exit(3)
sys.addaudithook(watch)
importlib.import_module(sys.argv[1])
"""


def made_vectors(parts: Sequence[Part], width: int) -> Vectors:
    """Vectors that follow from the content and from nothing else, float16 [n, width], L2-normalised."""
    vectors = np.zeros((len(parts), width), dtype=np.float16)
    for row, part in enumerate(parts):
        drawn = np.random.default_rng(int(part.digest[:16], 16)).normal(size=width)
        vectors[row] = (drawn / np.linalg.norm(drawn)).astype(np.float16)
    return vectors


def fault_of_import(module: str) -> str:
    """What goes wrong where this module is imported alone, on the paths of this process, without a network; empty where nothing does."""
    paths = [one for one in sys.path if one]
    code = f"import sys; sys.path[:0] = {paths!r}\n{_WATCHED}"
    command = [sys.executable, "-c", code, module]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - ours, and a module that is here already
    return "" if done.returncode == 0 else done.stderr.strip()[-500:] or f"it ended with {done.returncode}"
