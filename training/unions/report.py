"""What a search found, as Markdown to read and as JSON with all unions."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from masks.files import write_atomically
from training.evaluation import Interval, Provenance
from training.unions.record import Settings
from training.unions.run import Findings, Found
from training.unions.search import Union

FORMAT = "relata-unions/1"
PAGE = "unions.md"
RECORD = "unions.json"
_SHOWN = 20


@dataclass(frozen=True)
class Report:
    """All that is written.

    Attributes:
        findings: of the search.
        settings: of its results.
        provenance: of the search.
        pack: the folder of the masks.
        questions: how many there are.
        chance: share of right answers that guessing would give.
        folds: of the cross-validation.
        scorings: by which the questions were scored, each once.
        normalizations: likewise.
    """

    findings: Findings
    settings: Settings
    provenance: Provenance
    pack: Path
    questions: int
    chance: float
    folds: int
    scorings: tuple[str, ...]
    normalizations: tuple[str, ...]


def write_report(report: Report, out: Path) -> None:
    """Write unions.md and unions.json, each whole or not at all.

    Raises:
        OSError: the folder cannot be written.
    """
    page, record = page_of(report), json_of(report)
    write_atomically(out / RECORD, record.encode())
    write_atomically(out / PAGE, page.encode())


def request_of(report: Report) -> dict[str, object]:
    """What belongs into a request of `/score_choices` beside the question.

    Where questions were scored in several ways, each says its own.
    """
    fields: dict[str, object] = {"relations": list(report.findings.best.union)}
    if len(report.scorings) == 1:
        fields["scoring"] = report.scorings[0]
    if len(report.normalizations) == 1 and report.normalizations[0] != "none":
        fields["normalize"] = report.normalizations[0]
    return fields


def summary_of(report: Report) -> list[str]:
    """The result in a few sentences."""
    findings, best = report.findings, report.findings.best
    chosen = best.selection
    lines = [
        f"Best union: {_named(best.union)}, right on {_percent(best.accuracy)} of the "
        f"{report.questions:,} questions that it was chosen on.",
        f"Cross-validated ({report.folds} folds), choosing so is right on "
        f"{_with_interval(chosen.accuracy)}; the unmasked model is on "
        f"{_with_interval(findings.unmasked)}, guessing on {_percent(report.chance)}.",
        f"The gain over the unmasked model, in points, is {_points(chosen.gain)}: "
        f"{_verdict(chosen.gain)}.",
    ]
    if findings.exhaustive is not None:
        greedy = findings.greedy
        found = "the same union" if findings.same else _named(greedy.union)
        lines.append(
            f"Forward selection found {found}, right on {_percent(greedy.accuracy)}; "
            f"cross-validated {_with_interval(greedy.selection.accuracy)}."
        )
    return lines


def page_of(report: Report) -> str:
    """The page as Markdown text."""
    findings = report.findings
    table = findings.table
    unmasked = findings.unmasked.estimate
    accuracy = dict(zip(table.unions, table.right.mean(axis=1).tolist(), strict=True))
    ranked = table.ranked()
    singles = [union for union in ranked if len(union) == 1]
    searched = (
        "all of them"
        if findings.exhaustive is not None
        else "those on the way of forward selection"
    )
    parts = [
        "# Which relations to unite",
        "\n".join(f"- {line}" for line in summary_of(report)),
        "Put this into the requests of `/score_choices`, beside `context` and `choices`:",
        f"```json\n{json.dumps(request_of(report), ensure_ascii=False)}\n```",
        f"Tried: unions of {', '.join(map(str, findings.sizes))} of the "
        f"{len(findings.relations)} relations of `{report.pack}`, {searched}; "
        f"{len(table.unions):,} in all, single relations included.",
        f"## The {min(_SHOWN, len(ranked))} most accurate",
        "The best of many is too good on the questions that chose it, the more so the more there "
        "are. The cross-validated figure above is not.",
        _table(
            ("", "relations", "accuracy", "over unmasked"),
            [
                (str(place), _named(union), *_figures(accuracy[union], unmasked))
                for place, union in enumerate(ranked[:_SHOWN], start=1)
            ],
        ),
        "## Single relations",
        _table(
            ("relation", "accuracy", "over unmasked"),
            [
                ("none (unmasked)", *_figures(unmasked, unmasked)),
                *((_named(union), *_figures(accuracy[union], unmasked)) for union in singles),
            ],
        ),
        "## Forward selection",
        _table(
            ("relations", "accuracy", "over unmasked"),
            [(_named(union), *_figures(accuracy[union], unmasked)) for union in findings.path],
        ),
        "## What each fold chose",
        _table(
            ("fold", "chosen without it"),
            [
                (str(place), _named(union))
                for place, union in enumerate(findings.best.selection.chosen, start=1)
            ],
        ),
        "## Where this comes from",
        _table(("what", "value"), _origin(report)),
    ]
    return "\n\n".join(parts) + "\n"


def json_of(report: Report) -> str:
    """The numbers as JSON text."""
    findings = report.findings
    table = findings.table
    accuracy = dict(zip(table.unions, table.right.mean(axis=1).tolist(), strict=True))
    record: dict[str, Any] = {
        "format": FORMAT,
        "provenance": report.provenance.to_record(),
        "settings": asdict(report.settings),
        "pack": str(report.pack),
        "relations": list(findings.relations),
        "sizes": list(findings.sizes),
        "questions": report.questions,
        "folds": report.folds,
        "chance": report.chance,
        "request": request_of(report),
        "unmasked": asdict(findings.unmasked),
        "exhaustive": None if findings.exhaustive is None else _found(findings.exhaustive),
        "greedy": _found(findings.greedy)
        | {"path": [list(union) for union in findings.path], "same": findings.same},
        "unions": [
            {"relations": list(union), "accuracy": accuracy[union]} for union in table.ranked()
        ],
    }
    return json.dumps(record, ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def _found(found: Found) -> dict[str, object]:
    return {
        "relations": list(found.union),
        "accuracy": found.accuracy,
        "cross_validated": {
            "accuracy": asdict(found.selection.accuracy),
            "gain_over_unmasked": asdict(found.selection.gain),
            "chosen": [list(union) for union in found.selection.chosen],
        },
    }


def _origin(report: Report) -> list[tuple[str, str]]:
    rows = [
        ("scoring", ", ".join(report.scorings)),
        ("normalize", ", ".join(report.normalizations)),
        ("questions", report.settings.questions),
    ]
    skipped = ("data", "split")
    return [*rows, *(row for row in report.provenance.rows() if row[0] not in skipped)]


def _verdict(gain: Interval) -> str:
    if gain.low > 0:
        return "masks help on questions like these"
    if gain.high < 0:
        return "masks harm on questions like these; leave `relations` out"
    return "these questions do not show that masks help"


def _figures(accuracy: float, unmasked: float) -> tuple[str, str]:
    return _percent(accuracy), f"{100 * (accuracy - unmasked):+.1f}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _with_interval(interval: Interval) -> str:
    low, high = (f"{100 * value:.1f}" for value in (interval.low, interval.high))
    return f"{_percent(interval.estimate)} [{low}, {high}]"


def _points(gain: Interval) -> str:
    return f"{100 * gain.estimate:+.1f} [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]"


def _named(union: Union) -> str:
    return ", ".join(union)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
