"""Does a mask belong to the base model that is loaded?"""

from collections.abc import Mapping

from masks.errors import MaskMismatchError
from masks.mask import RelationMask
from masks.naming import layer_of


def check_fits(mask: RelationMask, base_digest: str, shapes: Mapping[str, tuple[int, int]]) -> None:
    """Check a mask against the base model it is about to run on.

    `shapes` are (rows, columns) of the base's maskable matrices by parameter name, of all layers
    or of those served. The mask must cover only these, and all of them in each layer it touches.

    Raises:
        MaskMismatchError: other base, a matrix the base does not have, another shape, or a layer
            covered in part; the message names the mask, the difference and what would be right.
    """
    name = f"mask {mask.relation}"
    if mask.base_digest != base_digest:
        raise MaskMismatchError(
            f"{name} was made for base {mask.metadata.base_model} ({mask.base_digest}), but the "
            f"loaded base is {base_digest}; load that base, or a mask made for this one"
        )
    for parameter, shape in mask.shapes.items():
        if parameter not in shapes:
            raise MaskMismatchError(
                f"{name} covers {parameter}, which is no maskable matrix of the loaded base; "
                f"right would be {_summary(shapes)}"
            )
        if shape != tuple(shapes[parameter]):
            raise MaskMismatchError(
                f"{name} has shape {shape} for {parameter}; right would be "
                f"{tuple(shapes[parameter])}"
            )
    touched = {layer_of(parameter) for parameter in mask.shapes} - {None}
    for parameter in sorted(shapes.keys() - mask.shapes.keys()):
        if layer_of(parameter) in touched:
            raise MaskMismatchError(
                f"{name} covers layer {layer_of(parameter)} but not its {parameter}; right would "
                f"be all maskable matrices of a layer"
            )


def _summary(shapes: Mapping[str, tuple[int, int]]) -> str:
    layers = sorted({layer for name in shapes if (layer := layer_of(name)) is not None})
    if not layers:
        return ", ".join(sorted(shapes)) or "none, as the base has no maskable matrix"
    return f"matrices of layers {layers[0]} to {layers[-1]}, named like {min(shapes)}"
