"""Static lint: what a policy says that a classifier cannot do, and what is missing for it to be trusted."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from moderation.errors import one_line, place
from moderation.item import Modality
from moderation.policy.languages import same_language
from moderation.policy.lint_words import WORD_RULES, ambiguous, identities, sexual_content_with_minors
from moderation.policy.polarity import expected, lacking
from moderation.policy.schema import Concept, Policy
from moderation.policy.scripts import foreign_script
from moderation.policy.yaml_source import Node

# Beyond about 20 tokens a CLIP text tower reads little more; beyond 75 its context is full.
LONG_PHRASE = 20
LONGEST_PHRASE = 75


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One thing the lint objects to: an `error` stops the life cycle, a `warning` does not. Sorts by place."""

    path: Path
    line: int
    column: int
    code: str
    severity: str
    message: str
    fix: str

    def __str__(self) -> str:
        return one_line(f"{place(self.path, self.line, self.column)}: {self.code} {self.severity}: {self.told}")

    @property
    def told(self) -> str:
        """The message, with its cure where there is one."""
        return f"{self.message}; {self.fix}" if self.fix else self.message


@dataclass(frozen=True, slots=True)
class _Phrase:
    text: str
    node: Node
    violating: bool


def lint(
    policy: Policy,
    *,
    today: dt.date,
    weakest: str | None = None,
    languages: Sequence[str] | None = None,
    context_length: int | None = None,
    count_tokens: Callable[[str], int] | None = None,
) -> list[Finding]:
    """Everything the static rules object to, in the order of the file.

    `weakest` is the settings' weakest action; `languages` and `context_length` are those of the encoder's card and `count_tokens` its counter, special tokens
    included; without them the language rule does not run and words stand in for tokens.
    """
    phrases = list(_phrases(policy))
    findings = [
        *(finding for phrase in phrases for finding in _words(phrase)),
        *(finding for phrase in phrases for finding in _length(phrase, context_length, count_tokens)),
        *_identities(phrases),
        *_contrast(policy),
        *_languages(policy, phrases, languages),
        *_minors(policy, phrases),
        *_coverage(policy),
        *_review_by(policy, today),
        *_passes(policy, weakest),
        *_tests(policy),
    ]
    return sorted(set(findings))


def refused(policy: Policy) -> list[Finding]:
    """The findings that nothing overrides: such a policy is never compiled, whoever asks."""
    return list(_minors(policy, list(_phrases(policy))))


def _finding(node: Node, code: str, severity: str, message: str, fix: str) -> Finding:
    return Finding(node.path, node.line, node.column, code, severity, message, fix)


def _phrases(policy: Policy) -> Iterator[_Phrase]:
    for side, concepts in _sides(policy):
        for i, concept in enumerate(concepts):
            for j, text in enumerate(concept.phrases):
                yield _Phrase(text, policy.locate("concepts", side, i, "phrases", j), side == "violating")


def _sides(policy: Policy) -> tuple[tuple[str, tuple[Concept, ...]], ...]:
    return ("violating", policy.concepts.violating), ("contrast", policy.concepts.contrast)


def _words(phrase: _Phrase) -> Iterator[Finding]:
    for rule in WORD_RULES:
        found = rule.found(phrase.text)
        if found:
            message = f"{found!r} in {phrase.text!r}: {rule.message}"
            yield _finding(phrase.node, rule.code, rule.severity, message, rule.fix)
    meanings = ambiguous(phrase.text)
    if meanings:
        message = f"{meanings[0]!r} means several things: {meanings[1]}"
        yield _finding(phrase.node, "L013", "warning", message, "add a word that tells which")


def _length(
    phrase: _Phrase, context_length: int | None, count_tokens: Callable[[str], int] | None
) -> Iterator[Finding]:
    fix = "split it into shorter phrases of one concept"
    if count_tokens is None:
        total = tokens = len(phrase.text.split())
        unit = "words, so at least as many tokens"
    else:
        total = count_tokens(phrase.text)
        tokens, unit = total - count_tokens(""), "tokens"
    if tokens > LONGEST_PHRASE or (context_length is not None and total > context_length):
        limit = f"the encoder reads {context_length}" if context_length else f"expected at most {LONGEST_PHRASE}"
        yield _finding(phrase.node, "L005", "error", f"the phrase has {tokens} {unit}; {limit}", fix)
    elif tokens > LONG_PHRASE:
        message = f"the phrase has {tokens} {unit}; an encoder attends to about {LONG_PHRASE}"
        yield _finding(phrase.node, "L005", "warning", message, fix)


def _identities(phrases: Sequence[_Phrase]) -> Iterator[Finding]:
    contrasted = identities(phrase.text for phrase in phrases if not phrase.violating)
    for phrase in phrases:
        for name in sorted(identities([phrase.text]) - contrasted) if phrase.violating else ():
            message = (
                f"{phrase.text!r} names people ({name}) and no contrast phrase does: the policy may learn the people"
            )
            fix = f"add a contrast phrase that shows the same people doing something allowed ({name})"
            yield _finding(phrase.node, "L007", "error", message, fix)


def _contrast(policy: Policy) -> Iterator[Finding]:
    if not policy.concepts.contrast:
        message = "no contrast concept: a score needs something to be compared with"
        fix = "add concepts.contrast with the look-alikes that are allowed"
        yield _finding(policy.locate("concepts"), "L008", "error", message, fix)


def _languages(policy: Policy, phrases: Sequence[_Phrase], languages: Sequence[str] | None) -> Iterator[Finding]:
    if languages is None:
        return
    read, fix = ", ".join(languages), "use an encoder that was evaluated on it, or write the phrase in another language"
    for phrase in phrases:
        script = foreign_script(phrase.text, languages)
        if script:
            message = f"{phrase.text!r} is written in {script} script; the encoder was evaluated on {read}"
            yield _finding(phrase.node, "L014", "error", message, fix)
    outside = [i for i, one in enumerate(policy.scope.languages) if not same_language(one, languages)]
    # Pictures have no language; there one language of the scope, that of the phrases, is enough.
    if Modality.TEXT in policy.scope.modalities or len(outside) == len(policy.scope.languages):
        for i in outside:
            message = f"scope names the language {policy.scope.languages[i]!r}; the encoder was evaluated on {read}"
            fix = "use an encoder that was evaluated on it, or take the language out of the scope"
            yield _finding(policy.locate("scope", "languages", i), "L014", "error", message, fix)


def _minors(policy: Policy, phrases: Sequence[_Phrase]) -> Iterator[Finding]:
    clauses = (
        (clause.text, policy.locate("definition", part, i, "text"))
        for part, one in (("violates", policy.definition.violates), ("allowed", policy.definition.allowed))
        for i, clause in enumerate(one)
    )
    for text, node in ((policy.title, policy.locate("title")), *clauses, *((one.text, one.node) for one in phrases)):
        if sexual_content_with_minors(text):
            message = "sexual content that involves minors is not classified here, and this rule cannot be overridden"
            fix = "use hash matching and the reporting route your law requires; name them in definition.out_of_reach"
            yield _finding(node, "S001", "error", message, fix)


def _coverage(policy: Policy) -> Iterator[Finding]:
    covered = {cover for _, concepts in _sides(policy) for concept in concepts for cover in concept.covers}
    for part, clauses in (("violates", policy.definition.violates), ("allowed", policy.definition.allowed)):
        for i, clause in enumerate(clauses):
            if clause.id not in covered:
                message = f"no concept covers clause {clause.id!r}"
                fix = "add a concept that covers it, or move it to definition.out_of_reach"
                yield _finding(policy.locate("definition", part, i), "P112", "warning", message, fix)


def _review_by(policy: Policy, today: dt.date) -> Iterator[Finding]:
    if policy.review_by < today:
        message = f"review_by was {policy.review_by}; today is {today}"
        yield _finding(policy.locate("review_by"), "P107", "error", message, "review the policy and set the next day")


def _passes(policy: Policy, weakest: str | None) -> Iterator[Finding]:
    if policy.on_error == weakest:
        message = f"what cannot be judged passes: on_error is {weakest!r}, the weakest action"
        fix = "name an action that holds it back, such as that of a reviewer; leave it while nothing is certified, or where that is meant"
        yield _finding(policy.locate("on_error"), "P113", "warning", message, fix)


def _tests(policy: Policy) -> Iterator[Finding]:
    files = [expected(path) for path in policy.tests]
    for i, ways in enumerate(files):
        if ways is None:
            message, fix = f"{policy.tests[i]} cannot be read as a test file", "write it, or correct the name"
            yield _finding(policy.locate("tests", i), "P109", "error", message, fix)
    if None in files:
        return
    seen = {one for ways in files for one in ways or ()}
    if not seen:
        message = "no test says what must be flagged, and none what must not"
        fix = "; ".join(fix for _, fix in lacking(seen))
        yield _finding(policy.locate("tests"), "P108", "error", message, fix)
        return
    for message, fix in lacking(seen):
        yield _finding(policy.locate("tests"), "P110", "error", message, fix)
