"""What the name of a file of LAMP's says of its content.

`bert-base-uncased_IsA_36_6_11_init>normal_hard.pickle`: the model, the relation, how many matrices,
the first and the last layer (counted from 0), how the scores were initialised, and whether they
were trained as hard masks.
"""

import re
from dataclasses import dataclass

# `>` is not allowed in names on every file system, so anything may stand for it.
_NAME = re.compile(
    r"(?P<model>[^_]+)_(?P<relation>.+)_(?P<matrices>[0-9]{1,4})_(?P<first>[0-9]{1,4})"
    r"_(?P<last>[0-9]{1,4})_init[^A-Za-z0-9]{1,4}(?P<start>[A-Za-z0-9.]+?)(?P<hard>_hard)?"
    r"\.(?:pickle|pkl|pt|pth)"
)
# In the order to look for them in: the names of the later ones are in those of the earlier.
_FAMILIES = ("albert", "electra", "distilbert", "roberta", "mpnet", "bert")


@dataclass(frozen=True, slots=True)
class LampName:
    """The parts of a file's name.

    Attributes:
        model: name of the base without its owner, e.g. `mpnet-base`.
        relation: name of the relation, or a number that stands for one.
        matrices: how many score matrices the file holds.
        layers: first and last layer, counted from 1.
        start: how the scores were initialised, e.g. `normal`.
        hard: whether they were trained under hard masks, the paper's deterministic ones.
    """

    model: str
    relation: str
    matrices: int
    layers: tuple[int, int]
    start: str
    hard: bool

    @property
    def family(self) -> str | None:
        """The model's `model_type`, as far as its name tells; None if it does not."""
        name = self.model.casefold()
        return next((family for family in _FAMILIES if family in name), None)


def parse_lamp_name(name: str) -> LampName | None:
    """The parts of a file's name, or None where it is not named as LAMP's files are."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    return LampName(
        model=match["model"],
        relation=match["relation"],
        matrices=int(match["matrices"]),
        layers=(int(match["first"]) + 1, int(match["last"]) + 1),
        start=match["start"],
        hard=match["hard"] is not None,
    )
