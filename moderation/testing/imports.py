"""An interpreter that watches an import."""

from __future__ import annotations

import subprocess
import sys

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


def fault_of_import(module: str) -> str:
    """What goes wrong where this module is imported alone, on the paths of this process, without a network; empty where nothing does."""
    paths = [one for one in sys.path if one]
    code = f"import sys; sys.path[:0] = {paths!r}\n{_WATCHED}"
    command = [sys.executable, "-c", code, module]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - ours, and a module that is here already
    return "" if done.returncode == 0 else done.stderr.strip()[-500:] or f"it ended with {done.returncode}"
