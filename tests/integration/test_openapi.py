"""What the server says of itself, held against what it does: schemathesis asks what the document allows, and what it forbids, of a real server with keys."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.conftest import ROOT
from tests.integration.test_serve import ask, until
from tests.served import Place, serving

KEY = "mod-fuzz"
# A shape cannot say which bytes are a picture, nor which deadline is too short: what fits it may be refused, with a documented 400.
LEFT_OUT = "positive_data_acceptance"
# What is wrong may be too large as well: then that is what is told.
REFUSED = 'checks.negative_data_rejection.expected-statuses = ["4xx"]'


def fuzz(place: Place, folder: Path, *, examples: int) -> tuple[int, str]:
    """The exit code of schemathesis, and what it says."""
    (folder / "schemathesis.toml").write_text(REFUSED, encoding="utf-8")
    words = [
        "run",
        f"{place.url}/openapi.json",
        "--header",
        f"Authorization: Bearer {KEY}",
        "--seed",
        "1",
        "--no-color",
    ]
    more = ["--max-examples", str(examples), "--exclude-checks", LEFT_OUT, "--continue-on-failure"]
    done = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", *words, *more],
        cwd=folder, capture_output=True, text=True, check=False, timeout=1800 + 10 * examples,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("examples", [15, pytest.param(1500, marks=pytest.mark.soak)])
def test_every_answer_is_one_that_the_document_tells_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, examples: int
) -> None:
    with serving(keys={"fuzz": {"sha256": hashlib.sha256(KEY.encode()).hexdigest()}}) as place:
        code, told = fuzz(place, tmp_path, examples=examples)
        assert code == 0, told
        (operations,) = re.findall(r"Tested: (\d+)", told)
        (cases,) = re.findall(r"(\d+) generated", told)
        assert (int(operations), int(cases) > 20 * examples) == (10, True), told
        until(lambda: place.service.batcher.waiting == (0, 0))
        assert ask(place, "/v1/moderations", {"input": "0.95"}, key=KEY)[0] == 200
    assert not [one for one in caplog.records if one.levelname in {"ERROR", "CRITICAL"}]


def test_the_documents_own_examples_are_answered_and_its_shapes_are_those_of_the_answers() -> None:
    with serving() as place:
        told = ask(place, "/openapi.json")[2]
        kinds = told["components"]["schemas"]
        asked = 0
        for path, methods in told["paths"].items():
            for method, one in methods.items():
                for body in _examples(one, kinds) if method == "post" else [None]:
                    status, headers, answer = ask(place, path.format(name="default"), body)
                    media = one["responses"]["200"]["content"]
                    assert status == 200, (path, answer)
                    assert next(iter(media)).split(";")[0] == headers["content-type"].split(";")[0]
                    if body is not None or "json" in headers["content-type"]:
                        _fits(answer, next(iter(media.values()))["schema"], kinds)
                    asked += 1
    assert asked >= 9


def _examples(one: dict[str, Any], kinds: dict[str, Any]) -> list[Any]:
    """The bodies that the document gives as examples."""
    shape = one["requestBody"]["content"]["application/json"]["schema"]
    names = [ref["$ref"].rsplit("/", 1)[1] for ref in shape.get("oneOf", [shape])]
    found = [body for name in names for body in kinds[name].get("examples", [])]
    assert found, shape
    return found


def _fits(answer: Any, shape: dict[str, Any], kinds: dict[str, Any]) -> None:
    jsonschema.validate(answer, {**json.loads(json.dumps(shape)), "components": {"schemas": kinds}})
