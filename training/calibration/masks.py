"""One mask calibrated on its validation facts, and its probabilities held against test facts."""

from collections.abc import Iterable

import numpy as np

from masks import RelationMask
from plm import BaseModel
from training.calibration.candidates import candidates_of, questions_of
from training.calibration.fitting import Fit, fit_calibration
from training.data import Split, Triple
from training.evaluation import Reliability, measure_reliability
from training.facts import unlike
from training.learning import objects_to_rank


def calibrate(
    base: BaseModel, mask: RelationMask, part: Split, further: Iterable[Triple] = ()
) -> Fit:
    """Fit a mask's calibration on the validation facts of the part it was learned from.

    For each of their subjects the mask's first candidates count as true if they are in validation
    or in `further`, the facts beside the data that training was offered. What was learned from is
    left out. Test facts are as good as unknown: neither they nor what resembles them is true. A
    relation with objects of several tokens gets no calibration.

    Raises:
        MaskMismatchError: the mask does not fit the base.
    """
    if objects_to_rank(base, (*part.train, *part.validation)):
        return Fit(None, "its objects have several tokens, which nothing is fitted for")
    more = unlike(_of(further, mask.relation), part.test)
    questions = questions_of(base, part.validation, learned=part.train, also_true=more)
    return fit_calibration(mask.relation, candidates_of(base, mask, questions))


def measure(
    base: BaseModel, mask: RelationMask, part: Split, further: Iterable[Triple] = ()
) -> Reliability | None:
    """Hold a mask's probabilities against the test facts, as `calibrate` does with validation.

    What was learned from and what the calibration was fitted on are left out. None without a
    calibration, or where no subject has an unseen true object.

    Raises:
        MaskMismatchError: the mask does not fit the base.
    """
    calibration = mask.metadata.calibration
    if calibration is None:
        return None
    learned = (*part.train, *part.validation)
    more = _of(further, mask.relation)
    questions = questions_of(base, part.test, learned=learned, also_true=more)
    candidates = candidates_of(base, mask, questions)
    if not len(candidates.true):
        return None
    return measure_reliability(
        mask.relation,
        np.array([calibration.probability(value) for value in candidates.log_probs]),
        candidates.true,
        threshold=calibration.threshold,
        subjects=candidates.subjects,
        facts=candidates.facts,
    )


def _of(facts: Iterable[Triple], relation: str) -> list[Triple]:
    return [fact for fact in facts if fact.relation == relation]
