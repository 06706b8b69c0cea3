from collections.abc import Callable

import pytest

from masks import MaskMismatchError, RelationMask, check_fits

QUERY = "bert.encoder.layer.3.attention.self.query.weight"


@pytest.fixture(scope="session")
def mask(make_mask: Callable[..., RelationMask]) -> RelationMask:
    return make_mask()


def test_a_mask_fits_its_base(mask: RelationMask) -> None:
    check_fits(mask, mask.base_digest, mask.shapes)
    lower = {"bert.encoder.layer.0.output.dense.weight": (2, 7)}
    check_fits(mask, mask.base_digest, {**mask.shapes, **lower})


def test_another_base_is_refused(mask: RelationMask) -> None:
    other = "sha256:" + "00" * 32
    with pytest.raises(MaskMismatchError, match=r"mask IsA .* relata/tiny .*ab.* is sha256:00"):
        check_fits(mask, other, mask.shapes)


def test_another_shape_is_refused(mask: RelationMask) -> None:
    shapes = {**mask.shapes, QUERY: (3, 12)}
    with pytest.raises(MaskMismatchError, match=r"\(3, 11\) for bert.*would be \(3, 12\)"):
        check_fits(mask, mask.base_digest, shapes)


def test_a_matrix_the_base_lacks_is_refused(mask: RelationMask) -> None:
    shapes = {name: shape for name, shape in mask.shapes.items() if "layer.4" in name}
    with pytest.raises(MaskMismatchError, match=r"no maskable matrix.*layers 5 to 5"):
        check_fits(mask, mask.base_digest, shapes)
    with pytest.raises(MaskMismatchError, match="would be w"):
        check_fits(mask, mask.base_digest, {"w": (1, 1)})


def test_a_layer_covered_in_part_is_refused(mask: RelationMask) -> None:
    key = QUERY.replace("query", "key")
    with pytest.raises(MaskMismatchError, match=r"covers layer 4 but not its .*key"):
        check_fits(mask, mask.base_digest, {**mask.shapes, key: (3, 11)})
