"""Facts asked in one wording, ready to be ranked under any upper layers."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from plm import BaseModel, LayerWeights, Template, encode_prompt
from training.data import DataError, Triple
from training.evaluation import Ranks, rank_targets
from training.learning.scoring import logits_of_groups, ranks_of
from training.learning.states import LowerStates, object_tokens, prompts_of

_PROMPTS_A_PASS = 128
# As many as a server ranks.
MOST_TOKENS = 32


class Questions(ABC):
    """Facts whose objects are ranked; the layers below the masked ones were run once."""

    @abstractmethod
    def ranks(self, layers: Sequence[LayerWeights]) -> Ranks:
        """Ranks (N,) of the facts' objects under these layers, in the order of the facts."""


def questions_of(
    base: BaseModel,
    facts: Sequence[Triple],
    template: str,
    first_layer: int,
    objects: Sequence[str] | None = None,
) -> Questions:
    """Ask for the facts' objects, each one token, among the whole vocabulary; or among `objects`.

    Raises:
        PromptError: a subject cannot be a prompt.
        ObjectError: an object cannot be asked for; without `objects`, it is not one token.
        DataError: the object of a fact is not among `objects`.
    """
    if objects is None:
        return VocabularyQuestions(base, facts, template, first_layer)
    return CandidateQuestions(base, facts, template, first_layer, objects)


class VocabularyQuestions(Questions):
    """Objects of one token, ranked among all tokens."""

    def __init__(
        self, base: BaseModel, facts: Sequence[Triple], template: str, first_layer: int
    ) -> None:
        prompts = prompts_of(base, facts, [template])
        self._base, self._targets = base, prompts.targets
        self._states = LowerStates(base, prompts.encoded, first_layer)

    def ranks(self, layers: Sequence[LayerWeights]) -> Ranks:
        """See `Questions`."""
        return ranks_of(self._base, self._states, self._targets, layers)


class CandidateQuestions(Questions):
    """Objects of any length, ranked among given ones.

    An object of L tokens is asked for with L mask tokens and scores the mean log-probability of its
    tokens there, as a server scores it (`plm.candidates`).
    """

    def __init__(
        self,
        base: BaseModel,
        facts: Sequence[Triple],
        template: str,
        first_layer: int,
        objects: Sequence[str],
    ) -> None:
        self._base = base
        # Spellings that the base reads alike are one object.
        tokens = list(dict.fromkeys(object_tokens(base, objects, most=MOST_TOKENS)))
        places = {ids: place for place, ids in enumerate(tokens)}
        asked = object_tokens(base, [fact.object for fact in facts], most=MOST_TOKENS)
        for fact, ids in zip(facts, asked, strict=True):
            if ids not in places:
                raise DataError(f"object {fact.object!r:.80} is not among the {len(tokens)} ranked")
        self._targets = torch.tensor([places[ids] for ids in asked])
        parsed = Template.parse(template)
        prompts = [encode_prompt(base, parsed, fact.subject) for fact in facts]
        self._groups: list[tuple[LowerStates, Tensor, Tensor]] = []
        for length in sorted({len(ids) for ids in tokens}):
            own = [place for place, ids in enumerate(tokens) if len(ids) == length]
            self._groups.append(
                (
                    LowerStates(base, [one.widened(length) for one in prompts], first_layer),
                    torch.tensor(own),
                    torch.tensor([tokens[place] for place in own], device=base.device),
                )
            )
        self._count = len(tokens)

    def ranks(self, layers: Sequence[LayerWeights]) -> Ranks:
        """See `Questions`."""
        return rank_targets(self.scores(layers), self._targets)

    @torch.inference_mode()
    def scores(self, layers: Sequence[LayerWeights]) -> Tensor:
        """(N, C) float32 on the CPU: the score of each object for each fact."""
        scores = torch.empty(len(self._targets), self._count)
        for states, places, tokens in self._groups:
            for facts in states.lengths.argsort(stable=True).split(_PROMPTS_A_PASS):
                (logits,) = logits_of_groups(self._base, [(states.packed(facts), layers)])
                shares = logits.float().log_softmax(dim=1).view(len(facts), tokens.shape[1], -1)
                own = torch.stack(
                    [shares[:, token].index_select(1, ids) for token, ids in enumerate(tokens.t())]
                )
                scores[facts[:, None], places] = own.mean(dim=0).cpu()
        return scores


def objects_to_rank(base: BaseModel, facts: Iterable[Triple]) -> dict[str, tuple[str, ...]]:
    """The objects of each relation that has one of several tokens, sorted: what it is ranked among.

    Relations whose objects are all one token are left out: they are ranked among all tokens.
    """
    found: dict[str, set[str]] = {}
    for fact in facts:
        found.setdefault(fact.relation, set()).add(fact.object)
    return {
        relation: tuple(sorted(objects))
        for relation, objects in sorted(found.items())
        if any(len(ids) > 1 for ids in object_tokens(base, sorted(objects), most=MOST_TOKENS))
    }
