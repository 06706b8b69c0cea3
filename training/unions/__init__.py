"""Which relations' masks to combine for a multiple-choice task: a search over their unions."""

from training.unions.questions import (
    Question,
    QuestionSet,
    encode_questions,
    read_questions,
    scoring_of,
)
from training.unions.record import Record, Settings
from training.unions.scoring import UnionScorer
from training.unions.search import Outcomes, Union, greedy_path, unions_of
from training.unions.selection import (
    Selection,
    Table,
    choose,
    cross_validate,
    folds_of,
)

__all__ = [
    "Outcomes",
    "Question",
    "QuestionSet",
    "Record",
    "Selection",
    "Settings",
    "Table",
    "Union",
    "UnionScorer",
    "choose",
    "cross_validate",
    "encode_questions",
    "folds_of",
    "greedy_path",
    "read_questions",
    "scoring_of",
    "unions_of",
]
