"""The settings of mask learning, and the named presets."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from training.methods import Export, complete_options, generator_of

Schedule = Literal["constant", "linear", "cosine"]
Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class LearnConfig:
    """How the mask of a relation is learned.

    Attributes:
        method: name of a mask generator, see `training.methods`.
        options: what is set of that method alone, by name; the others have their defaults.
        export: what the mask is made into: `binary`, or for `stochastic` also `expectation`.
        score_mean: scores start from N(score_mean, score_deviation).
        score_deviation: see `score_mean`.
        learning_rate: Adam's, of the scores.
        epochs: passes over a relation's facts, each fact under random wordings.
        batch_size: facts a step.
        wordings: under how many wordings a step shows each of its facts; a relation that has fewer
            shows it under all.
        warmup_share: share of the steps over which the rate rises linearly.
        schedule: of the rate after the warm-up: it stays, or falls to zero along a line or half a
            cosine.
        score_average: weight of the newest scores in their running mean, whose mask is tried too
            (0: no mean is kept). Averaging over steps takes out much of their noise.
        label_smoothing: share of the target's probability given to the whole vocabulary.
        validations_an_epoch: how often the mask is tried on validation facts; the best is kept.
        patience: stop after so many validations without a better one (0: never).
        first_layer: first masked layer, counted from 1; None for the architecture's default range.
        remember: weight of the divergence from the unmasked model on text that has nothing to do
            with the relation (0: none), see `training.learning.reminders`.
        precision: of the products with the weights; scores and losses are float32.

    Raises:
        ValueError: a setting is out of range; the message names it.
    """

    method: str = "deterministic"
    options: Mapping[str, float] = field(default_factory=dict)
    export: Export = "binary"
    score_mean: float = 0.01
    score_deviation: float = 0.005
    learning_rate: float = 1e-3
    epochs: int = 4
    batch_size: int = 32
    wordings: int = 1
    warmup_share: float = 0.1
    schedule: Schedule = "linear"
    score_average: float = 0.08
    label_smoothing: float = 0.0
    validations_an_epoch: int = 2
    patience: int = 6
    first_layer: int | None = None
    remember: float = 0.0
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        complete_options(self.method, generator_of(self.method).OPTIONS, self.options)
        generator_of(self.method).check_export(self.export)
        for name in ("epochs", "batch_size", "wordings", "validations_an_epoch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("learning_rate", "score_deviation"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, not {getattr(self, name)}")
        for name in ("warmup_share", "score_average", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be from 0 to below 1, not {getattr(self, name)}")
        for name in ("patience", "remember"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, not {getattr(self, name)}")
        for name, known in (("schedule", get_args(Schedule)), ("precision", get_args(Precision))):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is {', '.join(known)}, not {getattr(self, name)!r}")
        if self.first_layer is not None and self.first_layer < 1:
            raise ValueError(f"first_layer counts from 1, not {self.first_layer}")


PRESETS: dict[str, LearnConfig] = {
    "near-identity": LearnConfig(),
    # Ren & Zhu, section 4: N(0, 1), Adam 3e-4, batch 32, warm-up over 10 % of the steps, 6 epochs.
    "paper": LearnConfig(
        score_mean=0.0,
        score_deviation=1.0,
        learning_rate=3e-4,
        epochs=6,
        schedule="constant",
        score_average=0.0,
        patience=0,
    ),
    # The same with relaxed Bernoulli masks, temperature 0.1 (section 3), served as what they are
    # on average.
    "paper-stochastic": LearnConfig(
        method="stochastic",
        export="expectation",
        score_mean=0.0,
        score_deviation=1.0,
        learning_rate=3e-4,
        epochs=6,
        schedule="constant",
        score_average=0.0,
        patience=0,
    ),
    # At this temperature a score of 0.5 keeps its weight in 99 draws of 100, so that a start there
    # is near the identity; steps are in proportion.
    "stochastic": LearnConfig(
        method="stochastic", score_mean=0.5, score_deviation=0.05, learning_rate=3e-2
    ),
    "top-k": LearnConfig(method="top-k"),
    "hard-concrete": LearnConfig(
        method="hard-concrete", score_mean=2.0, score_deviation=0.1, learning_rate=1e-1
    ),
}


def preset(name: str) -> LearnConfig:
    """The settings of that name.

    Raises:
        ValueError: an unknown name; the message lists the known ones.
    """
    try:
        return PRESETS[name]
    except KeyError:
        known = ", ".join(sorted(PRESETS))
        raise ValueError(f"unknown preset {name!r}; known are {known}") from None
