"""From rankings to probabilities: a sigmoid for each mask, fitted on its validation facts.

`calibrate` fits one mask, `calibrate_pack` those of a pack made earlier, `measure_masks` holds
their probabilities against test facts.
"""

from training.calibration.candidates import LISTED, Candidates, candidates_of, questions_of
from training.calibration.fitting import LEAST_OF_EACH, Fit, fit_calibration, fit_sigmoid
from training.calibration.masks import calibrate, measure
from training.calibration.packs import calibrate_pack, check_learned_from, measure_masks

__all__ = [
    "LEAST_OF_EACH",
    "LISTED",
    "Candidates",
    "Fit",
    "calibrate",
    "calibrate_pack",
    "candidates_of",
    "check_learned_from",
    "fit_calibration",
    "fit_sigmoid",
    "measure",
    "measure_masks",
    "questions_of",
]
