"""What a run is to make, and whether a folder or a checkpoint is of that run."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from plm import BaseModel
from training.data import RelationTemplates, Split
from training.facts import Facts
from training.learning import LearnConfig, Reminders, layer_range, objects_to_rank
from training.remember import Remembered


class RunError(ValueError):
    """A run cannot start or go on; the message says what would be right."""


@dataclass(frozen=True)
class Plan:
    """All that decides what a run makes.

    Attributes:
        facts: the facts, split 7:2:1.
        further: facts to learn from only, on top of the training split, for the relations that
            they help; None for none.
        templates: wordings by relation.
        config: how masks are learned.
        seed: of the split and of learning.
        pack_name: name the pack gets.
        together: relations that are learned side by side.
        remember: text on which masks are to leave the answers as they are, for a config that gives
            it a weight; None for none.
        object_tokens: how many tokens an object may have.
        further_rates: learning rates that are tried beside the config's; validation chooses.
    """

    facts: Facts
    further: Facts | None
    templates: Mapping[str, RelationTemplates]
    config: LearnConfig
    seed: int
    pack_name: str
    together: int = 1
    remember: Remembered | None = None
    object_tokens: int = 1
    further_rates: tuple[float, ...] = ()

    @property
    def configs(self) -> tuple[LearnConfig, ...]:
        """The config under each rate that is tried."""
        rates = dict.fromkeys((self.config.learning_rate, *self.further_rates))
        return tuple(replace(self.config, learning_rate=rate) for rate in rates)

    def objects(self, base: BaseModel) -> dict[str, tuple[str, ...]]:
        """What the objects of a relation are ranked among, where that is not all tokens."""
        return objects_to_rank(base, self.facts.triples)

    def reminders(self, base: BaseModel) -> Reminders | None:
        """The text to remember, asked of the unmasked model."""
        if self.remember is None:
            return None
        first, _ = layer_range(base, self.config)
        return Reminders(base, self.remember.prompts, first)


def key_of(
    base: BaseModel, plan: Plan, config: LearnConfig, group: Sequence[Sequence[Split]]
) -> str:
    """Names what a checkpoint of a group is of: base, facts, wordings, settings, seed."""
    parts = [part for parts in group for part in parts]
    what = [
        base.digest,
        [part.digest for part in parts],
        [asdict(plan.templates[part.train[0].relation]) for part in parts],
        asdict(config),
        plan.seed,
        None if plan.remember is None else plan.remember.digest,
    ]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def check_settings(path: Path, base: BaseModel, plan: Plan) -> None:
    """A folder belongs to one run: other settings would mix two kinds of masks in one pack."""
    templates = {name: asdict(wording) for name, wording in plan.templates.items()}
    settings = {
        "base": base.digest,
        "data": plan.facts.digest,
        "relations": sorted({fact.relation for fact in plan.facts.triples}),
        "further": None if plan.further is None else plan.further.digest,
        "templates": hashlib.sha256(json.dumps(templates, sort_keys=True).encode()).hexdigest(),
        "config": asdict(plan.config),
        "object_tokens": plan.object_tokens,
        "further_rates": list(plan.further_rates),
        "remember": None if plan.remember is None else plan.remember.digest,
        "seed": plan.seed,
        "pack": plan.pack_name,
    }
    if path.exists():
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise RunError(f"{path} is not readable: {error}; give another --out") from error
        changed = sorted(key for key in settings if stored.get(key) != settings[key])
        if changed:
            raise RunError(
                f"{path.parent} holds a run with other settings ({', '.join(changed)}); "
                "give another --out, or the same settings to go on with it"
            )
        return
    path.write_text(json.dumps(settings, indent=2, sort_keys=True), encoding="utf-8")
