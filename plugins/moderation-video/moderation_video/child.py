"""The process of one video: bounds itself, reads the file at its standard input, writes the pictures to its standard output.

First a line of JSON, `{"pictures": [[name, bytes], …]}` or `{"cause": "…"}`, then the pictures one after the other. Run as
`python -m moderation_video.child LIMITS` by `reader.py` alone.
"""

from __future__ import annotations

import json
import resource
import sys

from moderation_video.limits import Limits

_MOST_BYTES = 100_000_000  # of all pictures together; what a worker takes by default (readers.most_bytes)


def main() -> int:
    """Always 0 where there is an answer, also one that says why there is no picture."""
    limits = Limits(**json.loads(sys.argv[1]))
    _bound(limits)
    try:
        from moderation_video.frames import UnreadError, take
    except ImportError:
        return 3
    pictures: list[tuple[str, bytes]] = []
    try:
        pictures = take(sys.stdin.buffer, limits)
        told: dict[str, object] = {"pictures": [(name, len(picture)) for name, picture in pictures]}
    except UnreadError as unread:
        told = {"cause": unread.cause}
    except MemoryError:
        told = {"cause": "too_much_memory"}
    except Exception:  # noqa: BLE001 - libav raises a dozen types on hostile bytes; each is that file's fault
        told = {"cause": "damaged"}
    sys.stdout.buffer.write(json.dumps(told).encode() + b"\n" + b"".join(picture for _, picture in pictures))
    return 0


def _bound(limits: Limits) -> None:
    """No image of the memory, with content in it, on the disk after a crash, and what is left of memory, time and output is bounded by the kernel."""
    bounds = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_AS: limits.memory_bytes,
        resource.RLIMIT_CPU: limits.processor_seconds,
        resource.RLIMIT_FSIZE: _MOST_BYTES,
    }
    for kind, bound in bounds.items():
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (bound if hard == resource.RLIM_INFINITY else min(bound, hard), hard))


if __name__ == "__main__":
    sys.exit(main())
