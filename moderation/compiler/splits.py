"""Splits are disjoint: what was fitted on proves nothing, nor does another picture of the same object."""

from __future__ import annotations

from collections.abc import Sequence

from moderation.errors import DataError
from moderation.policy.manifest import TargetRow


def refuse_overlap(fit: Sequence[TargetRow], certify: Sequence[TargetRow]) -> None:
    """Raises DataError with every certify row whose content or cluster stands in the fit targets too."""
    digests = {row.sha256: row for row in fit}
    clusters = {row.cluster: row for row in fit}
    problems = []
    for row in certify:
        if row.sha256 in digests:
            message = f"the same content is a fit target (line {digests[row.sha256].line}); certify on other items"
            problems.append(row.problem("D101", message))
        elif row.cluster in clusters:
            message = (
                f"cluster {row.cluster!r} is in the fit targets (line {clusters[row.cluster].line}); certify on others"
            )
            problems.append(row.problem("D102", message))
    if problems:
        raise DataError(problems)
