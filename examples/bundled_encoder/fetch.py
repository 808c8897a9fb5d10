"""Fetches the icon packages by name with npm into a folder outside the repository, and refuses a licence that changed."""

import json
import subprocess
from pathlib import Path

from drawings import COLOUR_ICON_STYLES, PACKAGES

LICENCES = {
    "noto": "Apache-2.0", "noto-v1": "Apache-2.0", "twemoji": "CC-BY-4.0", "fluent-emoji": "MIT", "fluent-emoji-flat": "MIT",
    "fluent-emoji-high-contrast": "MIT", "fxemoji": "Apache-2.0", "openmoji": "CC-BY-SA-4.0", "tabler": "MIT", "ph": "MIT",
    "lucide": "ISC", "icon-park": "Apache-2.0", "mingcute": "Apache-2.0", "fa6-solid": "CC-BY-4.0", "healthicons": "MIT",
    **{name: "MIT" if name == "flat-color-icons" else "CC-BY-4.0" for name in COLOUR_ICON_STYLES},
}  # fmt: skip


def fetch_packages(cache: Path) -> Path:
    """The node_modules folder under `cache` that holds every icon package, installed where it is not there yet."""
    modules = cache / "node_modules"
    wanted = [name for name in PACKAGES if not (modules / "@iconify-json" / name / "icons.json").is_file()]
    if wanted:
        cache.mkdir(parents=True, exist_ok=True)
        names = [f"@iconify-json/{name}" for name in wanted]
        subprocess.run(
            ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(cache), *names], check=True
        )
    for name in PACKAGES:
        info = json.loads((modules / "@iconify-json" / name / "info.json").read_text(encoding="utf-8"))
        if info["license"]["spdx"] != LICENCES[name]:
            raise ValueError(f"{name}: licence {info['license']['spdx']}; expected {LICENCES[name]}")
    return modules
