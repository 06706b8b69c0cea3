"""Chooses among the states of a specialisation by validation facts, and keeps the best one."""

from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from plm import BaseModel
from training.data import RelationTemplates, Triple
from training.evaluation import hits_at_k, mean_reciprocal_rank
from training.learning.layers import layers_with
from training.learning.questions import questions_of
from training.methods import Specialisation

SpecialisationT = TypeVar("SpecialisationT", bound=Specialisation)


class Judge(Generic[SpecialisationT]):
    """Tries specialisations on validation facts and remembers the parameters of the best.

    Args:
        base: the frozen base.
        facts: the validation facts.
        templates: of the relation; the evaluation wording is asked.
        layers: first and last layer that is changed, counted from 1.
        weights: the base's own, by name.
        objects: what the facts' objects are ranked among; None for the whole vocabulary.
    """

    def __init__(
        self,
        base: BaseModel,
        facts: Sequence[Triple],
        templates: RelationTemplates,
        layers: tuple[int, int],
        weights: dict[str, Tensor],
        *,
        objects: Sequence[str] | None = None,
    ) -> None:
        self._base, self._layers, self._weights = base, layers, weights
        self._questions = questions_of(base, facts, templates.evaluation, layers[0], objects)
        self.unmasked_mrr = self._metrics(weights)["mrr"]
        self._state: dict[str, Tensor] = {}
        self.metrics: dict[str, float] = {}
        self.step = 0
        self.worse_in_a_row = 0

    @property
    def best_mrr(self) -> float:
        """Mean reciprocal rank of the best so far."""
        return self.metrics.get("mrr", 0.0)

    @torch.no_grad()
    def try_out(self, specialisation: SpecialisationT, step: int) -> None:
        """Keep the parameters if they are the best so far."""
        metrics = self._metrics(specialisation.settled(self._weights))
        if self.metrics and metrics["mrr"] <= self.best_mrr:
            self.worse_in_a_row += 1
            return
        self._state = {name: part.clone() for name, part in specialisation.state_dict().items()}
        self.metrics, self.step = metrics, step
        self.worse_in_a_row = 0

    def state(self) -> dict[str, Any]:
        """What was chosen so far; what `resume` goes on from."""
        return {
            "best": self._state,
            "metrics": self.metrics,
            "step": self.step,
            "worse_in_a_row": self.worse_in_a_row,
        }

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self._state, self.metrics = dict(state["best"]), dict(state["metrics"])
        self.step, self.worse_in_a_row = state["step"], state["worse_in_a_row"]

    def restore(self, specialisation: SpecialisationT) -> SpecialisationT:
        """Put the best parameters back.

        Raises:
            ValueError: nothing was tried yet.
        """
        if not self._state:
            raise ValueError("nothing was tried on the validation facts yet")
        specialisation.load_state_dict(self._state)
        return specialisation

    def _metrics(self, weights: dict[str, Tensor]) -> dict[str, float]:
        ranks = self._questions.ranks(layers_with(self._base, *self._layers, weights))
        return {
            "mrr": mean_reciprocal_rank(ranks),
            **{f"p_at_{k}": float(hits_at_k(ranks, k).mean()) for k in (1, 3, 10)},
        }
