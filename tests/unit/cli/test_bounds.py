from __future__ import annotations

import json

import pytest
import typer

from moderation.cli.bounds import conclude
from moderation.errors import ExitCode


@pytest.mark.parametrize("broken", [[], ["too slow"]])
def test_what_is_broken_is_told_and_fails(broken: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    told: list[str] = []
    for as_json in (False, True):
        code = 0
        try:
            conclude({"rate": 1.0}, broken, tell=lambda: told.append("told"), as_json=as_json)
        except typer.Exit as leaving:
            code = leaving.exit_code
        assert code == (ExitCode.OVER_BUDGET if broken else ExitCode.OK)
        out = capsys.readouterr().out
        assert (
            json.loads(out) == {"rate": 1.0, "broken": broken}
            if as_json
            else out == "".join(f"broken: {one}\n" for one in broken)
        )
    assert told == ["told"]
