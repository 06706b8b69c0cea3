"""How well objects are predicted: ranks over the vocabulary, metrics, intervals, controls, reports.

Ranks come in as scores of any system, the controls among them; an `Evaluation` holds systems by
relations and refuses to set numbers side by side that come from different facts.
"""

from training.evaluation.bootstrap import Interval, mean_interval, paired_interval
from training.evaluation.controls import (
    FrequencyPrior,
    mismatched_assignment,
    random_keep,
    shuffled,
)
from training.evaluation.metrics import (
    fact_values,
    hits_at_k,
    mean_reciprocal_rank,
    per_fact,
    per_relation,
    reciprocal_rank,
)
from training.evaluation.provenance import Provenance, collect_provenance
from training.evaluation.ranks import Ranks, rank_targets, realistic_rank, stacked
from training.evaluation.reliability import Bin, Reliability, measure_reliability
from training.evaluation.report import markdown
from training.evaluation.results import Evaluation, RelationResult
from training.evaluation.summary import by_relation, compare, summarise
from training.evaluation.verdict import Verdict, relation_sentences, verdicts

__all__ = [
    "Bin",
    "Evaluation",
    "FrequencyPrior",
    "Interval",
    "Provenance",
    "Ranks",
    "RelationResult",
    "Reliability",
    "Verdict",
    "by_relation",
    "collect_provenance",
    "compare",
    "fact_values",
    "hits_at_k",
    "markdown",
    "mean_interval",
    "mean_reciprocal_rank",
    "measure_reliability",
    "mismatched_assignment",
    "paired_interval",
    "per_fact",
    "per_relation",
    "random_keep",
    "rank_targets",
    "realistic_rank",
    "reciprocal_rank",
    "relation_sentences",
    "shuffled",
    "stacked",
    "summarise",
    "verdicts",
]
