"""The settings of an adaptation run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class AdaptConfig:
    """Settings of one run; the defaults are the recipe the embedded base was made with.

    Rates are multiples of `learning_rate`. Budgets count word pieces that the model reads
    (padding excluded).

    Raises:
        ValueError: a setting is out of range.
    """

    token_budget: int = 12_000_000
    batch_tokens: int = 4_096
    frozen_layers: int = 0
    """The embeddings and this many lower layers stay as they are (0: everything learns)."""
    learning_rate: float = 4e-4
    embedding_rate: float = 0.2
    lower_rate: float = 0.8
    head_rate: float = 5.0
    mask_token_rate: float = 20.0
    warmup_share: float = 0.03
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    mask_rate: float = 0.2
    frequency_discount: float = 2e-4
    """Words more frequent than this share of the corpus are masked less, by sqrt(discount / f)."""
    piece_weight: float = 0.2
    """How often a piece of a word of several pieces is masked, relative to a whole word."""
    max_length: int = 48
    """Word pieces a sequence may have, [CLS] and [SEP] included; longer ones are cut."""
    length_window: int = 20_000
    held_out_share: float = 0.003
    file_shares: Mapping[str, float] = field(default_factory=dict)
    """Share of each file's lines a pass takes, by the start of the file's name (default 1)."""
    verbalise: tuple[str, ...] = ()
    """Starts of the names of dictionary files whose `word: definition` lines become sentences."""
    seed: int = 0
    report_every: int = 50
    save_every: int = 200
    evaluate_every: int = 400

    def __post_init__(self) -> None:
        for name in ("token_budget", "batch_tokens", "report_every", "save_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not 0 < self.mask_rate < 1:
            raise ValueError(f"mask_rate must lie between 0 and 1, not {self.mask_rate}")
        if not 0 < self.held_out_share < 0.5:
            raise ValueError(
                f"held_out_share must lie between 0 and 0.5, not {self.held_out_share}"
            )
        if self.learning_rate <= 0:
            raise ValueError(f"learning_rate must be positive, not {self.learning_rate}")
