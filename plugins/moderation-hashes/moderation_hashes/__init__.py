"""Pictures against lists of known-bad ones, by PDQ. HASHES_INDEX names the index; without it the plugin brings nothing."""

import os
from pathlib import Path

from moderation import hookimpl

INDEX_VARIABLE = "HASHES_INDEX"


@hookimpl
def register_detectors(registry):
    if os.environ.get(INDEX_VARIABLE):
        from moderation_hashes.detector import Hashes

        registry.add(Hashes(Path(os.environ[INDEX_VARIABLE])))
