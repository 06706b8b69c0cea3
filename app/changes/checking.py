"""Whether a mask can be served, wherever it comes from."""

from masks import MaskFileError, RelationMask, check_fits, parse_mask
from plm import BaseModel, PromptError, Template, TemplateError, encode_prompt

# A subject as short as any, to see whether a template makes a prompt at all.
_SUBJECT = "it"


def check_mask(mask: RelationMask, base: BaseModel) -> None:
    """Check that a mask belongs to the base, and that its templates make prompts.

    Raises:
        MaskMismatchError: it belongs to another base, or covers other weights.
        MaskFileError: a template makes no prompt.
    """
    check_fits(mask, base.digest, base.shapes(1, base.layer_count))
    for text in mask.metadata.templates:
        try:
            encode_prompt(base, Template.parse(text), _SUBJECT)
        except (PromptError, TemplateError) as error:
            reason = error.reason if isinstance(error, PromptError) else str(error)
            raise MaskFileError(
                f"mask {mask.relation}", f"its template {text!r:.160} makes no prompt: {reason}"
            ) from error


def read_mask(data: bytes, source: str, base: BaseModel) -> RelationMask:
    """The mask of a file's bytes, checked completely; its arrays are views of the bytes.

    Raises:
        MaskFileError: the bytes are no mask file, or one that is damaged; `source` names them.
        MaskMismatchError: as `check_mask`.
    """
    mask = parse_mask(data, source)
    check_mask(mask, base)
    return mask
