"""An evaluation as Markdown."""

from collections.abc import Iterable, Sequence

from training.evaluation.bootstrap import RESAMPLES, Interval
from training.evaluation.metrics import KS, MRR, Average
from training.evaluation.reliability import Reliability
from training.evaluation.results import Evaluation
from training.evaluation.summary import BOOTSTRAP_SEED, Row, by_relation, summarise
from training.evaluation.verdict import LEAST_FACTS, relation_sentences, verdict_rows, verdicts

_TITLES: tuple[tuple[str, Average], ...] = (
    ("Mean over relations", "per_relation"),
    ("Mean over facts", "per_fact"),
)

_CALIBRATION_NOTE = (
    "Of the first words that a mask ranks for each subject, what was learned from left out: how "
    "many are known to be true, and how well the probabilities say so that were fitted on other "
    "facts. `likely` are those from the threshold; recall is of all facts of the subjects; ECE is "
    "the expected calibration error over ten bins of equally many. What a knowledge base does not "
    "list counts as false, so that true shares, precision and probabilities are all too low."
)


def markdown(
    evaluation: Evaluation,
    *,
    ks: Sequence[int] = KS,
    resamples: int = RESAMPLES,
    seed: int = BOOTSTRAP_SEED,
) -> str:
    """Return the tables of an evaluation and its provenance.

    Hits are in per cent, reciprocal ranks from 0 to 1, both with their 95 % intervals.
    """
    metrics = [*(f"hits@{k}" for k in ks), MRR]
    heads = [_head(metric) for metric in metrics]
    sections = []
    for title, average in _TITLES:
        rows = [
            [row.system, str(len(row.relations)), f"{row.facts:,}", *_cells(row, metrics)]
            for row in summarise(evaluation, average, ks=ks, resamples=resamples, seed=seed)
        ]
        table = markdown_table(["system", "relations", "facts", *heads], rows)
        sections.append(f"## {title}\n\n{table}")
    rows = [
        [row.relations[0], row.system, f"{row.facts:,}", *_cells(row, metrics)]
        for row in by_relation(evaluation, ks=ks, resamples=resamples, seed=seed)
    ]
    table = markdown_table(["relation", "system", "facts", *heads], rows)
    sections.append(f"## Each relation\n\n{table}")
    if found := verdicts(evaluation):
        heads = ["relation", "masks beside", "facts", "MRR, difference", "masks are"]
        table = markdown_table(heads, verdict_rows(found))
        sentences = "\n".join(f"- {sentence}" for sentence in relation_sentences(found))
        sections.append(
            f"## Verdicts\n\n{sentences}\n\n{table}\n\nDifferences are paired by fact. "
            f"With fewer than {LEAST_FACTS} test facts none is called."
        )
    if evaluation.calibration:
        sections.append(_calibration_section(evaluation.calibration))
    origin = "\n".join(f"- {what}: {value}" for what, value in evaluation.provenance.rows())
    sections.append(
        f"In brackets: 95 % percentile bootstrap intervals over facts ({resamples:,} resamples "
        f"within each relation, seed {seed}).\n\n## Provenance\n\n{origin}"
    )
    return "\n\n".join(sections) + "\n"


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; a `|` in a cell is escaped."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines
    )


def _calibration_section(parts: Sequence[Reliability]) -> str:
    heads = ["relation", "subjects", "facts", "candidates", "true, %", "likely from, %", "likely"]
    heads += ["precision, %", "recall, %", "F1", "ECE, %", "Brier"]
    rows = [
        _calibration_row(part.relation, f"{100 * part.threshold:.1f}", [part]) for part in parts
    ]
    if len(parts) > 1:
        rows.append(_calibration_row("all", "", parts))
    return f"## Calibration\n\n{markdown_table(heads, rows)}\n\n{_CALIBRATION_NOTE}"


def _calibration_row(name: str, threshold: str, parts: Sequence[Reliability]) -> list[str]:
    """One line, the candidates of `parts` taken together."""
    facts = sum(part.facts for part in parts)
    accepted = sum(part.accepted for part in parts)
    found = sum(part.found for part in parts)
    candidates = sum(part.candidates for part in parts)
    true = sum(part.candidates * part.base_rate for part in parts)
    error = sum(part.candidates * part.expected_calibration_error for part in parts)
    brier = sum(part.candidates * part.brier for part in parts)
    return [
        name,
        f"{sum(part.subjects for part in parts):,}",
        f"{facts:,}",
        f"{candidates:,}",
        f"{100 * true / candidates:.1f}",
        threshold,
        f"{accepted:,}",
        f"{100 * found / accepted:.1f}" if accepted else "",
        f"{100 * found / facts:.1f}" if facts else "",
        f"{2 * found / (accepted + facts):.3f}" if found else "0.000",
        f"{100 * error / candidates:.1f}",
        f"{brier / candidates:.4f}",
    ]


def _head(metric: str) -> str:
    return "MRR" if metric == MRR else f"{metric}, %"


def _cells(row: Row, metrics: Sequence[str]) -> list[str]:
    return [_cell(metric, row.intervals[metric]) for metric in metrics]


def _cell(metric: str, interval: Interval) -> str:
    scale, digits = (1, 3) if metric == MRR else (100, 1)
    estimate, low, high = (
        f"{scale * value:.{digits}f}" for value in (interval.estimate, interval.low, interval.high)
    )
    return f"{estimate} [{low}, {high}]"
