"""From log-probabilities to whether an object is likely true, where the mask knows."""

from app.errors import FieldFault, RequestError
from app.features.feature import Path
from app.features.specialise import Specialised
from masks import Calibration, RelationMask
from plm import Template


def calibration_of(model: Specialised, template: Template) -> Calibration | None:
    """What says how likely an object of a log-probability is true; None if nothing does.

    A calibration holds for one relation, its mask applied, asked with its first template.
    """
    return None if _why_none(model, template) else _metadata_calibration(model)


def require_calibration(model: Specialised, template: Template, path: Path = ()) -> None:
    """Check that an answer can be cut to what is likely.

    Raises:
        RequestError: it cannot; the error at `likely` says why.
    """
    if reason := _why_none(model, template):
        raise not_calibrated(reason, path)


def not_calibrated(reason: str, path: Path = ()) -> RequestError:
    """The error of a question for what is likely where that cannot be told."""
    detail = f"nothing says what is likely: {reason}; leave it out"
    return RequestError((FieldFault((*path, "likely"), detail),))


def judge(calibration: Calibration | None, log_prob: float) -> tuple[float | None, bool | None]:
    """Probability of being true, and whether it reaches the threshold; None without calibration."""
    if calibration is None:
        return None, None
    probability = calibration.probability(log_prob)
    return probability, probability >= calibration.threshold


def _metadata_calibration(model: Specialised) -> Calibration | None:
    mask = model.mask
    return mask.metadata.calibration if isinstance(mask, RelationMask) else None


def _why_none(model: Specialised, template: Template) -> str | None:
    if len(model.relations) != 1:
        return "probabilities are calibrated for single relations"
    if not isinstance(model.mask, RelationMask):
        return "probabilities are calibrated under the relation's mask"
    if template.text != model.mask.metadata.templates[0]:
        return "probabilities are calibrated with the relation's default template"
    if model.mask.metadata.calibration is None:
        return f"the mask of {model.relations[0]} has no calibration"
    return None
