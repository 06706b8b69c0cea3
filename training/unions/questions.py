"""Multiple-choice questions with their answers: bodies of `/score_choices`, one a line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from plm import NORMALIZATIONS, SCORINGS, BaseModel, ChoicePlan, PromptError, plan_choices
from plm.choices import Normalize, Scoring
from training.data import DataError
from training.data.json_lines import json_object
from training.data.rows import RowError

# As the service has them.
MAX_CHOICES = 64
MAX_TEXT = 10_000
_SHOWN_PROBLEMS = 10
Name = TypeVar("Name", bound=str)
_FIELDS = (
    "context",
    "choices",
    "answer",
    "scoring",
    "normalize",
    "relations",
    "combine",
    "masked",
    "tokens",
)


@dataclass(frozen=True)
class Question:
    """A question and the right one of its choices.

    Attributes:
        line: of the file, counted from 1.
        context: None where the choices are texts of their own.
        choices: two or more.
        answer: index of the right choice.
        scoring: None where the question names none.
        normalize: None where the question names none.
    """

    line: int
    context: str | None
    choices: tuple[str, ...]
    answer: int
    scoring: Scoring | None = None
    normalize: Normalize | None = None


@dataclass(frozen=True, eq=False)
class QuestionSet:
    """Questions that were read and tokenised.

    Attributes:
        questions: Q of them, in the file's order.
        plans: what the unmasked model is asked of each.
    """

    questions: tuple[Question, ...]
    plans: tuple[ChoicePlan, ...]

    @property
    def chance(self) -> float:
        """The share of right answers that guessing would give."""
        return sum(1 / len(one.choices) for one in self.questions) / len(self.questions)


def scoring_of(text: str | None) -> Scoring | None:
    """The scoring of that name; None stays None.

    Raises:
        DataError: there is none.
    """
    return _one_of(text, SCORINGS, f"no scoring {text!r:.80}; there are {', '.join(SCORINGS)}")


def normalize_of(text: str | None) -> Normalize | None:
    """The normalisation of that name; None stays None.

    Raises:
        DataError: there is none.
    """
    return _one_of(
        text,
        NORMALIZATIONS,
        f"no normalisation {text!r:.80}; there are {', '.join(NORMALIZATIONS)}",
    )


def read_questions(path: Path) -> tuple[Question, ...]:
    """Read a file of questions; blank lines are passed over.

    Raises:
        DataError: the file cannot be read, holds no question, or has bad lines: all of them are
            told, each with its number and what would be right.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as questions: {error}") from error
    questions, problems = [], []
    # Not `splitlines`, which would cut a text at the line separators that JSON lets stand.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            questions.append(_question(number, json_object(line)))
        except (RowError, DataError) as error:
            problems.append(f"line {number}: {error}")
    _refuse(path, problems)
    if not questions:
        raise DataError(
            f"{path} holds no question; write one JSON object a line, e.g. "
            '{"context": "A knife is used for", "choices": ["cutting.", "sleeping."], "answer": 0}'
        )
    return tuple(questions)


def encode_questions(
    base: BaseModel,
    questions: Sequence[Question],
    path: Path,
    *,
    scoring: Scoring | None = None,
    normalize: Normalize | None = None,
) -> QuestionSet:
    """Tokenise questions; `scoring` and `normalize` are of those that name none themselves.

    Raises:
        DataError: some cannot be scored; all are told, each with its line of `path`.
    """
    plans, problems = [], []
    for one in questions:
        try:
            plans.append(
                plan_choices(
                    base,
                    one.context,
                    one.choices,
                    scoring=one.scoring or scoring,
                    normalize=one.normalize or normalize or "none",
                )
            )
        except PromptError as error:
            problems.append(f"line {one.line}: {error}")
    _refuse(path, problems)
    return QuestionSet(tuple(questions), tuple(plans))


def _refuse(path: Path, problems: Sequence[str]) -> None:
    if not problems:
        return
    shown = "".join(f"\n  {problem}" for problem in problems[:_SHOWN_PROBLEMS])
    rest = len(problems) - _SHOWN_PROBLEMS
    more = f"\n  and {rest:,} more" if rest > 0 else ""
    lines = "1 line" if len(problems) == 1 else f"{len(problems):,} lines"
    raise DataError(f"{lines} of {path} cannot be used; mend or remove them:{shown}{more}")


def _question(number: int, record: Mapping[str, object]) -> Question:
    if unknown := sorted(set(record) - set(_FIELDS)):
        raise DataError(f"unknown field {unknown[0]!r:.80}; there are {', '.join(_FIELDS)}")
    _check_search_decides(record)
    context = record.get("context")
    if context is not None:
        context = _text(context, "'context'", "a text, or null")
    choices = _choices(record.get("choices"))
    answer = record.get("answer")
    if isinstance(answer, bool) or not isinstance(answer, int) or not 0 <= answer < len(choices):
        raise DataError(
            f"'answer' must be the index of the right choice, 0 to {len(choices) - 1}, "
            f"not {_shown(record, 'answer')}"
        )
    return Question(
        number,
        context,
        choices,
        answer,
        _field(record, "scoring", SCORINGS),
        _field(record, "normalize", NORMALIZATIONS),
    )


def _check_search_decides(record: Mapping[str, object]) -> None:
    """Refuse a mask of the question's own: it would be passed over, as the search tries all."""
    if record.get("relations") is not None:
        raise DataError("leave 'relations' out, or null: the search tries all unions of them")
    if record.get("combine") not in (None, "union"):
        raise DataError("leave 'combine' out: the search is over unions")
    if record.get("masked", True) is not True:
        raise DataError("leave 'masked' out: the search tries both, masked and unmasked")
    if not isinstance(record.get("tokens", False), bool):
        raise DataError("'tokens' must be true or false; here it has no effect")


def _choices(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise DataError("'choices' must be a list of 2 to 64 texts")
    if not 2 <= len(value) <= MAX_CHOICES:
        raise DataError(f"'choices' must be 2 to {MAX_CHOICES} texts, not {len(value)}")
    return tuple(
        _text(choice, f"choice {number} of 'choices'", "a text")
        for number, choice in enumerate(value)
    )


def _text(value: object, what: str, right: str) -> str:
    if not isinstance(value, str):
        raise DataError(f"{what} must be {right}, not {type(value).__name__}")
    if len(value) > MAX_TEXT:
        raise DataError(f"{what} has {len(value):,} characters; at most {MAX_TEXT:,} are read")
    return value


def _field(record: Mapping[str, object], field: str, names: Sequence[Name]) -> Name | None:
    value = record.get(field)
    wrong = f"{field!r} must be one of {', '.join(names)}, not {value!r:.80}"
    return _one_of(value, names, wrong)


def _one_of(value: object, names: Sequence[Name], wrong: str) -> Name | None:
    """The name that a value is; None stays None, and of others it is said what is wrong."""
    if value is None:
        return None
    for name in names:
        if value == name:
            return name
    raise DataError(wrong)


def _shown(record: Mapping[str, object], field: str) -> str:
    return f"{record[field]!r:.80}" if field in record else "left out"
