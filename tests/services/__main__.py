"""`make services`: a broker and a Redis server until Ctrl-C; `--keep FOLDER` is what a test run starts."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from tests.services import available
from tests.services.keeper import keep, started


def main() -> None:
    if sys.argv[1:2] == ["--keep"]:
        if os.fork() == 0:
            os.setsid()
            keep(Path(sys.argv[2]))
        return
    for what in available.lacking().values():
        sys.exit(f"services: this machine lacks {what}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = Path(tempfile.mkdtemp(prefix="moderation-services-"))
    try:
        with started(folder) as addresses:
            print(f"export {available.KAFKA}={addresses.kafka} {available.REDIS}={addresses.redis}", flush=True)
            print("services: running; Ctrl-C stops them", file=sys.stderr, flush=True)
            signal.pause()
    except KeyboardInterrupt:
        print("services: stopping", file=sys.stderr)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
