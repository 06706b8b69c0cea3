"""What a mask says about itself beside its bits."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from masks.calibration import Calibration
from masks.errors import MaskValueError
from masks.naming import check_relation_name, layer_of
from masks.rules import (
    Setting,
    check_digest,
    check_fraction,
    check_integer,
    check_layers,
    check_mapping,
    check_number,
    check_setting,
    check_shapes,
    check_templates,
    check_text,
)

METHODS = ("deterministic", "stochastic", "top-k", "hard-concrete")
BITS_PER_WEIGHT = (1, 8)


@dataclass(frozen=True)
class MaskMetadata:
    """Facts about one relation's mask, checked when made.

    Mappings are copied, ordered by key, and typed read-only. Sparsity and digest are not here:
    they follow from the bits.

    Attributes:
        relation: name of the relation, fit for a file name and a URL.
        base_model: name of the base model, for people.
        base_digest: `sha256:<64 hex>` over all weights of the base model.
        architecture: the base's `model_type`, e.g. `bert`.
        layers: first and last masked layer, counted from 1, both included.
        method: how the scores were trained, one of `METHODS`.
        threshold: the bit is 1 where sigmoid(score) >= threshold; None if not cut at one.
        shapes: (rows, columns) of each masked matrix by the base's parameter name.
        templates: cloze templates, [X] subject and [Y] object; the first serves by default.
        data_name: name of the training data.
        data_digest: `sha256:<64 hex>` of the training data.
        seed: seed of the training run.
        validation: metrics on the validation split, e.g. `mrr`, `p_at_1`.
        tool_version: version of the tool that made the mask.
        settings: hyper-parameters of the training run.
        facts: how many facts each split held, e.g. `train`.
        calibration: from log-probabilities to probabilities of being true; None if there is none.
        bits_per_weight: 1, each weight is kept or removed; or 8, each is multiplied by a value
            from 0 to 1, the expectation of a stochastic mask, which is cut at no threshold.

    Raises:
        MaskValueError: a field breaks its rule; the message names the field.
    """

    relation: str
    base_model: str
    base_digest: str
    architecture: str
    layers: tuple[int, int]
    method: str
    threshold: float | None
    shapes: Mapping[str, tuple[int, int]] = field(hash=False)
    templates: tuple[str, ...]
    data_name: str
    data_digest: str
    seed: int
    validation: Mapping[str, float] = field(hash=False)
    tool_version: str
    settings: Mapping[str, Setting] = field(default_factory=dict, hash=False)
    facts: Mapping[str, int] = field(default_factory=dict, hash=False)
    calibration: Calibration | None = None
    bits_per_weight: int = 1

    def __post_init__(self) -> None:
        check_relation_name(self.relation)
        for name in ("base_model", "architecture", "data_name", "tool_version"):
            check_text(name, getattr(self, name))
        check_digest("base_digest", self.base_digest)
        check_digest("data_digest", self.data_digest)
        if self.method not in METHODS:
            raise MaskValueError(
                f"method must be one of {' or '.join(METHODS)}, not {self.method!r:.80}"
            )
        check_integer("seed", self.seed)
        if self.calibration is not None and not isinstance(self.calibration, Calibration):
            raise MaskValueError(
                f"calibration must be a Calibration or None, not {self.calibration!r:.80}"
            )
        self._check_bits_per_weight()
        normalised = {
            "layers": check_layers("layers", self.layers),
            "threshold": None
            if self.threshold is None
            else check_fraction("threshold", self.threshold),
            "shapes": check_shapes("shapes", self.shapes),
            "templates": check_templates("templates", self.templates),
            "validation": {
                name: check_number(f"validation {name}", value)
                for name, value in check_mapping("validation", self.validation).items()
            },
            "settings": {
                name: check_setting(f"setting {name}", value)
                for name, value in check_mapping("settings", self.settings).items()
            },
            "facts": {
                name: check_integer(f"the count of {name} facts", value)
                for name, value in check_mapping("facts", self.facts).items()
            },
        }
        for name, value in normalised.items():
            object.__setattr__(self, name, value)
        self._check_layers_of_matrices()

    def _check_bits_per_weight(self) -> None:
        bits = check_integer("bits_per_weight", self.bits_per_weight)
        if bits not in BITS_PER_WEIGHT:
            raise MaskValueError(f"bits_per_weight must be 1 or 8, not {bits}")
        if bits == 8 and self.threshold is not None:
            raise MaskValueError(
                "a mask of 8 bits a weight is cut at no threshold: threshold must be None, "
                f"not {self.threshold!r:.80}"
            )

    def _check_layers_of_matrices(self) -> None:
        # The model runs unmasked below `layers[0]`: a matrix there would be ignored in silence.
        first, last = self.layers
        for name in self.shapes:
            layer = layer_of(name)
            if layer is not None and not first <= layer <= last:
                raise MaskValueError(
                    f"layers are {first} to {last}, but {name} belongs to layer {layer} "
                    f"(counted from 1)"
                )
