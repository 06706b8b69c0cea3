"""Which of many masks each prompt of a batch wants: the popularity axis of multi-adapter serving.

The four kinds are those of Punica (Chen et al. 2023, arXiv:2310.18547), for a given set of masks.
"""

from collections.abc import Sequence
from random import Random
from typing import Literal, TypeVar, get_args

Item = TypeVar("Item")
Popularity = Literal["distinct", "uniform", "skewed", "identical"]
POPULARITIES: tuple[Popularity, ...] = get_args(Popularity)

# Exponent of the Zipf distribution of `skewed`.
_SKEW = 1.5


def draw(items: Sequence[Item], count: int, popularity: Popularity, random: Random) -> list[Item]:
    """One item for each of `count` prompts.

    `distinct` takes all in turns, `uniform` draws any, `skewed` draws by Zipf's law with exponent
    1.5, `identical` takes one.
    """
    if popularity == "distinct":
        start = random.randrange(len(items))
        return [items[(start + place) % len(items)] for place in range(count)]
    if popularity == "uniform":
        return random.choices(items, k=count)
    if popularity == "skewed":
        weights = [1 / rank**_SKEW for rank in range(1, len(items) + 1)]
        return random.choices(items, weights, k=count)
    return [random.choice(items)] * count
