"""The server on Ray Serve: `serve run serve_app:app`, with the settings file that SERVE_CONFIG names (serve.toml beside this)."""

from __future__ import annotations

import os
from pathlib import Path

from moderation.scaleout.serving import application

config = Path(os.environ.get("SERVE_CONFIG") or Path(__file__).parent / "serve.toml")
app = application(config, least=1, most=int(os.environ.get("MOST_REPLICAS", "8")), cores=1)
