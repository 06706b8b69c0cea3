"""What a pack's masks say of the prompts they were learned with."""

from collections.abc import Mapping

from masks import RelationMask
from training.data import RelationTemplates


def pack_templates(masks: Mapping[str, RelationMask]) -> dict[str, RelationTemplates]:
    """A pack knows its wordings: the first template serves and evaluates."""
    return {
        relation: RelationTemplates(
            relation,
            mask.metadata.templates[0],
            mask.metadata.templates[1:] or mask.metadata.templates,
        )
        for relation, mask in masks.items()
    }


def object_tokens_of(masks: Mapping[str, RelationMask]) -> int:
    """How many tokens the objects could have that the masks were learned for."""
    told = [mask.metadata.settings.get("object_tokens", 1) for mask in masks.values()]
    return max((most for most in told if isinstance(most, int)), default=1)
