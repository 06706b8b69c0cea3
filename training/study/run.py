"""Runs a sub-study by its name. Importing this imports all that draws."""

from collections.abc import Callable, Sequence
from pathlib import Path

from training.study.ablation import ablation_section, measure_ablation
from training.study.attention import attention_section, measure_attention
from training.study.embedding import embedding_section, measure_embedding
from training.study.layers import layers_section, measure_layers
from training.study.overlap import measure_overlap, overlap_section
from training.study.section import Section
from training.study.seeds import measure_seeds, seeds_section
from training.study.studied import Studied

# Figures that were learned, in the folder of a study.
CELLS = "layers"


def run_study(
    name: str,
    studied: Studied,
    out: Path,
    *,
    seeds: Sequence[int],
    epochs: int | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> tuple[object, Section]:
    """The numbers of a sub-study, a dataclass, and its part of the page.

    `seeds` and `epochs` are of what `layers` learns, which is kept in the folder `out`.

    Raises:
        NotApplicableError: it has nothing to work on.
    """
    match name:
        case "overlap":
            overlaps = measure_overlap(list(studied.masks.values()))
            return overlaps, overlap_section(overlaps)
        case "ablation":
            ablations = measure_ablation(studied)
            return ablations, ablation_section(ablations)
        case "seeds":
            agreement = measure_seeds(studied)
            return agreement, seeds_section(agreement)
        case "embedding":
            clouds = measure_embedding(studied)
            return clouds, embedding_section(clouds)
        case "attention":
            attention = measure_attention(studied)
            return attention, attention_section(attention)
        case "layers":
            cells = measure_layers(studied, out / CELLS, seeds=seeds, epochs=epochs, tell=tell)
            return cells, layers_section(cells)
    raise ValueError(f"no study {name!r}")
