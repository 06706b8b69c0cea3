from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import plm

if TYPE_CHECKING:
    from tests.plm.conftest import Tiny


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (1, (1, 1)),
        (2, (2, 2)),
        (4, (3, 4)),
        (5, (3, 5)),
        (6, (4, 6)),
        (12, (7, 12)),
        (24, (17, 24)),
        (36, (25, 36)),
    ],
)
def test_masks_cover_the_upper_half_or_third(layers: int, expected: tuple[int, int]) -> None:
    assert plm.default_layer_range(layers) == expected


def test_no_layers_have_no_range() -> None:
    with pytest.raises(ValueError, match="at least one layer"):
        plm.default_layer_range(0)


def test_unknown_type_lists_the_supported_ones() -> None:
    with pytest.raises(
        plm.BaseModelError, match=r"'t5' are not supported.*bert, distilbert, mpnet"
    ):
        plm.architecture_of("t5")


def test_names_count_layers_from_zero() -> None:
    names = plm.maskable_names(plm.architecture_of("bert"), 4, 6)
    assert len(names) == 18
    assert names[0] == "bert.encoder.layer.3.attention.self.query.weight"
    assert names[-1] == "bert.encoder.layer.5.output.dense.weight"


@pytest.mark.parametrize(("first", "last"), [(0, 2), (3, 2), (-1, -1)])
def test_a_range_is_one_based_and_rising(first: int, last: int) -> None:
    with pytest.raises(ValueError, match="1 <= first <= last"):
        plm.maskable_names(plm.architecture_of("mpnet"), first, last)


def test_names_are_all_weight_matrices_of_the_layers(tiny: Tiny) -> None:
    # Every matrix inside a layer, and nothing else, may be covered.
    state = tiny.base.parameters
    layers = tiny.base.architecture.layers
    matrices = {name for name, w in state.items() if name.startswith(layers) and w.ndim == 2}
    assert set(plm.maskable_names(tiny.base.architecture, 1, 4)) == matrices
    assert tiny.base.shapes(1, 4) == {name: tuple(state[name].shape) for name in matrices}
