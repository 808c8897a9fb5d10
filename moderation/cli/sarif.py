"""Lint findings as SARIF 2.1.0, the format in which code hosts show them beside the changed lines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import moderation
from moderation.policy.lint import Finding

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS = {"error": "error", "warning": "warning", "info": "note"}


def as_sarif(findings: Sequence[Finding]) -> dict[str, Any]:
    """One run with a result for each finding; files below the working folder are named relative to it."""
    codes = sorted({one.code for one in findings})
    driver = {
        "name": "moderation",
        "version": moderation.__version__,
        "rules": [{"id": code, "help": {"text": f"{code} in policies/README.md"}} for code in codes],
    }
    results = [_result(one, codes.index(one.code)) for one in findings]
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": results}]}


def _result(finding: Finding, rule: int) -> dict[str, Any]:
    place: dict[str, Any] = {"artifactLocation": {"uri": _uri(finding.path)}}
    if finding.line > 0:  # a file that cannot be read has no line
        place["region"] = {"startLine": finding.line, "startColumn": max(finding.column, 1)}
    return {
        "ruleId": finding.code,
        "ruleIndex": rule,
        "level": _LEVELS[finding.severity],
        "message": {"text": f"{finding.message}; {finding.fix}" if finding.fix else finding.message},
        "locations": [{"physicalLocation": place}],
    }


def _uri(path: Path) -> str:
    whole = path.absolute()
    try:
        return quote(whole.relative_to(Path.cwd()).as_posix())
    except ValueError:
        return whole.as_uri()
