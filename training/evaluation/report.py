"""An evaluation as Markdown."""

from collections.abc import Iterable, Sequence

from training.evaluation.bootstrap import RESAMPLES, Interval
from training.evaluation.metrics import KS, MRR, Average
from training.evaluation.results import Evaluation
from training.evaluation.summary import BOOTSTRAP_SEED, Row, by_relation, summarise

_TITLES: tuple[tuple[str, Average], ...] = (
    ("Mean over relations", "per_relation"),
    ("Mean over facts", "per_fact"),
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
