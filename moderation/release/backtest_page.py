"""The backtest for people: one HTML page that fetches nothing and runs no script, and the same as Markdown for pull requests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import resources

from moderation.errors import counted
from moderation.release.backtest import SOURCES, Backtest, Build
from moderation.release.backtest_plot import Lines, Rows, Shown, lines_of, rows_of
from moderation.release.comparison import Slice
from moderation.release.diff import SAME_BUILD
from moderation.release.loads import Load
from moderation.release.page import render
from moderation.release.rates import Rate
from moderation.release.shares import Share

SHOWN = 20  # rows of a plot or a table that could have hundreds; the JSON has them all


def render_html(found: Backtest) -> str:
    """The page as HTML text; the same backtest gives the same text. Everything from a policy or a file is escaped."""
    filters = {
        "percent": percent, "span": _span, "rate": rate_in_words, "score": _score,
    }  # fmt: skip
    return render(
        resources.files("moderation.release") / "backtest.html.j2",
        style=resources.files("moderation.audit") / "page.css",
        filters=filters,
        found=found,
        builds=_builds(found),
        source=SOURCES[found.source],
        same_build=SAME_BUILD,
        shown=SHOWN,
        actions=_actions(found),
        loads=rows_of([_load_row(found, action) for action in _actions(found)]),
        groups=rows_of([_slice_row(one) for one in _moving(found.compared.by_group)]),
        rates=_rates(found),
        days=_days(found),
    )


def render_markdown(found: Backtest) -> str:
    """The backtest as Markdown: what changes, what it takes, how right it is, and what was left out."""
    sections = (_head(found), _load_table(found), _change_tables(found), _rate_table(found), _rest(found))
    return "\n".join(line for section in sections for line in section) + "\n"


def percent(value: float | None) -> str:
    """A share as per cent, with as many digits as it takes to tell small ones apart."""
    if value is None:
        return "none"
    digits = 1 if value >= 0.1 else 2 if value >= 0.01 else 3 if value >= 0.001 else 4
    return f"{100 * value:.{digits if value else 0}f}\N{NO-BREAK SPACE}%"


def rate_in_words(rate: Rate) -> str:
    """A rate with its interval and what it rests on, or why it cannot be told."""
    if rate.value is None or rate.low is None or rate.high is None:
        return rate.why
    of = "of all kept items" if rate.basis == "kept" else "of the judged items"
    return f"{rate.value:.3f} ({rate.low:.3f} to {rate.high:.3f}) {of}, on {rate.hits:,} of {rate.judged:,} judged in {counted(rate.clusters, 'cluster')}"


def share_in_words(found: Backtest) -> str:
    """The share of violating items, and how it lies to what the policy states; or once why it cannot be told."""
    rate = found.after.rates.prevalence
    return rate.why or f"{rate_in_words(rate)}: {found.prevalence}"


def _builds(found: Backtest) -> list[tuple[str, Build]]:
    """The builds by the words for them, the one before first."""
    return [("before", found.before), ("after", found.after)] if found.before else [("after", found.after)]


def _actions(found: Backtest) -> list[str]:
    """Every action that either build takes, the strongest first."""
    names = [one.action for _, build in _builds(found) for one in build.loads.loads]
    order = list(found.compared.matrix)
    return sorted(set(names), key=order.index, reverse=True)


def _load(build: Build, action: str) -> Load | None:
    return next((one for one in build.loads.loads if one.action == action), None)


def _load_row(found: Backtest, action: str) -> tuple[str, list[Shown], float | None]:
    loads = [(kind, load) for kind, build in _builds(found) if (load := _load(build, action))]
    tried = _load(found.after, action)
    budget = tried.budget if tried else None
    return f"{action} or more", [_shown(kind, load.taken) for kind, load in loads], budget


def _slice_row(one: Slice) -> tuple[str, list[Shown], float | None]:
    return one.name, [_shown("stricter", one.stricter), _shown("milder", one.milder)], None


def _shown(kind: str, share: Share) -> Shown:
    return Shown(kind, share.value or 0.0, share.low, share.high)


def _moving(slices: Sequence[Slice]) -> Sequence[Slice]:
    return slices[:SHOWN]


def _rates(found: Backtest) -> Rows:
    rows: list[tuple[str, list[Shown], float | None]] = []
    for action in _actions(found):
        for what in ("precision", "recall"):
            known = [
                Shown(kind, rate.value, rate.low, rate.high)
                for kind, build in _builds(found)
                for one in build.rates.actions
                if one.action == action and (rate := getattr(one, what)).value is not None
            ]
            rows += [(f"{what} of {action}", known, None)] if known else []
    return rows_of(rows)


def _days(found: Backtest) -> list[tuple[str, Lines]]:
    """Each action's items over all days that either build judged on."""
    days = sorted({day.day for _, build in _builds(found) for day in build.loads.days})
    plots = []
    for action in _actions(found):
        counts = []
        for kind, build in _builds(found):
            known = {day.day: day.actions.get(action, 0) for day in build.loads.days}
            counts.append((kind, [known.get(day, 0) for day in days]))
        drawn = lines_of(days, counts)
        plots += [(action, drawn)] if drawn else []
    return plots


def _head(found: Backtest) -> Iterator[str]:
    before = f"revision `{found.before.revision}` ({found.before.status})" if found.before else "no build at all"
    overall = found.compared.overall
    yield f"# Backtest of {_plain(found.policy)} {found.after.version}"
    yield ""
    yield f"Revision `{found.after.revision}` ({found.after.status}) beside {before}; encoder `{found.encoder[:16]}`."
    yield f"{counted(found.compared.items, 'item')} from {SOURCES[found.source]}."
    yield f"In another band: {overall.changed.hits:,}, of which {overall.stricter.hits:,} asked more of, {overall.milder.hits:,} less."
    if found.same_build:
        yield f"**{SAME_BUILD}**"
    elif found.before:
        yield f"Between the builds: {'; '.join([f'a {found.bump} change', *found.why])}."
    if found.warning:
        yield f"**Warning: {_plain(found.warning)}.**"
    for action in found.over_budget:
        yield f"**Over budget: {_plain(action)}.**"
    for action in found.may_be_over_budget:
        yield f"May be over budget: {_plain(action)}."


def _load_table(found: Backtest) -> Iterator[str]:
    yield from (
        "",
        "## Load",
        "",
        "| action | build | threshold | this or more (95 %) | budget | exactly this | per 1,000 | a day |",
        "|---|---|---|---|---|---|---|---|",
    )
    for action in _actions(found):
        for kind, build in _builds(found):
            load = _load(build, action)
            if load is None:
                continue
            over = " **exceeded**" if load.over else " may be exceeded" if load.may_be_over else ""
            budget = "none" if load.budget is None else percent(load.budget) + over
            day = f"{load.a_day[1]:,.0f} ({load.a_day[0]:,} to {load.a_day[2]:,})" if load.a_day else "times not known"
            cells = (
                action,
                kind,
                _score(load.threshold),
                f"{percent(load.taken.value)} ({_span(load.taken)})",
                budget,
                f"{load.items:,}",
                f"{load.per_thousand:.1f}",
                day,
            )
            yield _row(cells)


def _change_tables(found: Backtest) -> Iterator[str]:
    seen = found.compared.seen
    yield from ("", "## Who changes band", "", _row(("before, after", *seen)), "|---" * (len(seen) + 1) + "|")
    for band in seen:
        yield _row((band, *(f"{found.compared.matrix[band][other]:,}" for other in seen)))
    yield from (
        "",
        "| from | to | items (clusters) | of all (95 %) | judged: violating, benign |",
        "|---|---|---|---|---|",
    )
    for one in found.compared.flips:
        yield _row(
            (
                one.before,
                one.after,
                f"{one.share.hits:,} ({one.share.clusters:,})",
                f"{percent(one.share.value)} ({_span(one.share)})",
                f"{one.violating:,}, {one.benign:,}",
            )
        )
    for title, slices in (("group", found.compared.by_group), ("nearest phrase", found.compared.by_concept)):
        yield from ("", f"| {title} | items | stricter (95 %) | milder (95 %) |", "|---|---|---|---|")
        for part in slices[:SHOWN]:
            yield _row(
                (
                    part.name,
                    f"{part.items:,}",
                    f"{part.stricter.hits:,}: {percent(part.stricter.value)} ({_span(part.stricter)})",
                    f"{part.milder.hits:,}: {percent(part.milder.value)} ({_span(part.milder)})",
                )
            )
    yield from ("", "| example | from | to | score | judged | nearest phrase |", "|---|---|---|---|---|---|")
    for moved in found.compared.examples:
        judged = {True: "violating", False: "benign", None: "no"}[moved.target]
        yield _row(
            (
                f"`{moved.ending(64)}`",
                moved.before,
                moved.after,
                f"{_score(moved.score_before)} to {_score(moved.score_after)}",
                judged,
                moved.concept or "none",
            )
        )


def _rate_table(found: Backtest) -> Iterator[str]:
    yield from (
        "",
        "## Precision and recall",
        "",
        "| action or more | build | precision | recall |",
        "|---|---|---|---|",
    )
    for kind, build in _builds(found):
        for one in build.rates.actions:
            yield _row((one.action, kind, rate_in_words(one.precision), rate_in_words(one.recall)))
    stated = f"{percent(found.stated.low)} to {percent(found.stated.high)}, {_plain(found.stated.source)}"
    yield from (
        "",
        f"Violating share: {share_in_words(found)}; the policy states {stated}.",
    )


def _rest(found: Backtest) -> Iterator[str]:
    left = [f"{counted(count, 'item')}: {reason}" for reason, count in found.skipped.items()]
    left += [
        f"{counted(count, 'item')} asked less of than by score: {reason}" for reason, count in found.capped.items()
    ]
    left += [f"{counted(count, 'target')}: {reason}" for reason, count in found.after.rates.unrated.items()]
    left += [
        f"{name}: " + ("too many values to be a group" if count is None else f"not stated by {counted(count, 'item')}")
        for name, count in found.compared.unstated.items()
        if count != 0
    ]
    yield from ("", "## Left out", "", *(f"- {_plain(one)}" for one in left or ["nothing"]))
    yield from ("", "## Limits", "", *(f"- {_plain(one)}" for one in found.limits))
    if found.command:
        yield from ("", f"Repeat: `{found.command}`")


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_plain(cell) for cell in cells) + " |"


def _plain(text: str) -> str:
    """One line that no Markdown table is broken by."""
    return text.replace("\n", " ").replace("|", "\\|")


def _span(share: Share) -> str:
    return f"{percent(share.low)} to {percent(share.high)}"


def _score(value: float | None) -> str:
    return "none" if value is None else f"{value:.6g}"
