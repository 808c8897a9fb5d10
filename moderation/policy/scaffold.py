"""A new policy to start from: the policy, its tests, its manifests and four drawn pictures, all of which load and lint clean."""

from __future__ import annotations

import datetime as dt
import io
import json
from pathlib import Path
from string import Template

from pydantic import TypeAdapter, ValidationError

from moderation.errors import PolicyError, Problem
from moderation.item import content_digest
from moderation.policy.fields import Slug
from moderation.policy.schema import json_schema

_REVIEW_AFTER = dt.timedelta(days=180)
_RED, _BLUE = (200, 30, 30), (30, 60, 200)

_POLICY = Template("""\
# yaml-language-server: $$schema=./policy.schema.json
schema: policy/v1
id: $padded # stable for ever; the title may change
title: Red circles           # replace this and everything below by your own rule
version: 0.1.0
owner: your-team
review_by: $review_by
severity: low
scope: {modalities: [image], languages: [en]}
definition:                  # full sentences, for people
  violates:
    - {id: v1, text: "A red circle is shown."}
  allowed:
    - {id: a1, text: "Blue squares are fine."}
  out_of_reach: []           # claims that content cannot show: {claim: ..., handled_by: ...}
concepts:                    # short phrases for what a camera could see
  violating:
    - {id: circle, covers: [v1], phrases: [a red circle, a red ball]}
  contrast:
    - {id: square, covers: [a1], phrases: [a blue square, a blue box]}
# Beside these, data/background.jsonl (yours to write, shared by the policies of a folder): some hundred ordinary items that break
# no policy, each with target false. compile measures phrases against them; without them scores stay at the lowest level.
data:
  fit: data/$id.fit.jsonl
  certify: data/$id.certify.jsonl
prevalence: {low: 0.01, high: 0.05, source: a guess to be replaced by a random sample, n: 100}
actions:                     # promises; thresholds follow from them
  - {action: review, guarantee: {metric: recall, at_least: 0.9, confidence: 0.9}}
on_error: review
tests: [tests/$id.yaml]
""")

_TESTS = Template("""\
schema: policy-tests/v1
suite: $id
cases:
  - {id: circle, item: ../data/$id/certify-circle.png, expect: at_least review}
  - {id: square, item: ../data/$id/certify-square.png, expect: no_match}
degenerate: [blank, noise, corrupt]
""")


def scaffold(policy_id: str, folder: Path, *, today: dt.date | None = None) -> tuple[Path, ...]:
    """The files written for a new policy in `folder`, the policy first.

    Raises ValueError where the id is no slug, and PolicyError where a file is there already, with nothing written.
    """
    folder = Path(folder)
    files = _files(policy_id, folder, today or dt.datetime.now(tz=dt.UTC).date())
    problems = [Problem(path, 0, 0, "Y001", "is there already; nothing was written") for path in files if path.exists()]
    if problems:
        raise PolicyError(problems)
    schema = folder / "policy.schema.json"
    if not schema.exists():
        files[schema] = (json.dumps(json_schema(), indent=2) + "\n").encode()
    try:
        for path, content in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    except OSError as error:
        raise PolicyError([Problem(folder, 0, 0, "Y001", f"cannot be written: {error.strerror}")]) from None
    return tuple(files)


def _files(policy_id: str, folder: Path, today: dt.date) -> dict[Path, bytes]:
    try:
        TypeAdapter(Slug).validate_python(policy_id)
    except ValidationError:
        expected = "lower-case letters and digits, a letter first, with single dashes or underscores between"
        raise ValueError(f"found {policy_id!r}; expected {expected}, such as 'spam-flyers'") from None
    texts = {"id": policy_id, "padded": policy_id.ljust(24), "review_by": (today + _REVIEW_AFTER).isoformat()}
    files = {
        folder / f"{policy_id}.yaml": _POLICY.substitute(texts).encode(),
        folder / "tests" / f"{policy_id}.yaml": _TESTS.substitute(texts).encode(),
    }
    for split, size in (("fit", 20), ("certify", 28)):
        rows = []
        for shape, colour in (("circle", _RED), ("square", _BLUE)):
            picture = _picture(shape, colour, size)
            name = f"{policy_id}/{split}-{shape}.png"
            files[folder / "data" / name] = picture
            rows.append(_row(name, picture, target=shape == "circle", cluster=f"{split}-{shape}"))
        files[folder / "data" / f"{policy_id}.{split}.jsonl"] = "".join(rows).encode()
    return files


def _row(name: str, picture: bytes, *, target: bool, cluster: str) -> str:
    row = {"path": name, "sha256": content_digest(picture), "target": target, "cluster": cluster}
    return json.dumps({**row, "source": "moderation policy new", "licence": "CC0-1.0"}) + "\n"


def _picture(shape: str, colour: tuple[int, int, int], size: int) -> bytes:
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (64, 64), "white")
    box = (32 - size, 32 - size, 32 + size, 32 + size)
    draw = ImageDraw.Draw(image)
    (draw.ellipse if shape == "circle" else draw.rectangle)(box, fill=colour)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
