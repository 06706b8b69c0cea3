"""The part that all questions share: which relations' masks they are asked under."""

from dataclasses import dataclass

from app.catalogue import Catalogue
from app.errors import CombineError, FieldFault, PromptRefusedError
from app.features.feature import Path
from app.schemas.common import AppliedMask, BaseIdentity
from masks import Combine, MaskExpressionError, MaskMismatchError, PackedMask
from plm import BaseModel, Template, TemplateError


@dataclass(frozen=True, eq=False)
class Specialised:
    """The model that a question is put to.

    Attributes:
        relations: the relations named, in their order; empty where there are none.
        combine: how their masks are combined.
        mask: the combined mask; None asks the unmasked model.
    """

    relations: tuple[str, ...]
    combine: Combine
    mask: PackedMask | None

    def applied(self) -> AppliedMask | None:
        """What an answer says of the mask; None: the unmasked model answered."""
        if self.mask is None:
            return None
        return AppliedMask(
            relations=list(self.relations),
            combine=str(self.combine),
            digest=self.mask.digest,
            sparsity=self.mask.sparsity,
        )


def relations_of(text: str) -> str | list[str]:
    """A relation, or the relations that commas separate."""
    names = [name.strip() for name in text.split(",")]
    return names if len(names) > 1 else names[0]


def specialise(
    catalogue: Catalogue,
    relation: str | list[str] | None,
    combine: str | None,
    *,
    masked: bool = True,
    field: str = "relation",
    path: Path = (),
) -> Specialised:
    """Find and combine the masks of the relations named; `field` is where they are named.

    Raises:
        UnknownRelationError, RefusedRelationError: a relation is not served; also where the
            unmasked model is asked: a name that is not known is never ignored.
        CombineError: the masks cannot be combined so.
    """
    named = [relation] if isinstance(relation, str) else relation
    relations = tuple(named or ())
    how = _combine(combine, relations, path)
    served = [catalogue.find(name) for name in relations]
    if not relations or not masked:
        return Specialised(relations, how, None)
    if len(relations) == 1:
        return Specialised(relations, how, served[0].mask)
    try:
        return Specialised(relations, how, catalogue.combine(relations, how))
    except MaskMismatchError as error:
        raise CombineError((FieldFault((*path, field), str(error)),)) from error


def template_of(
    catalogue: Catalogue, relations: tuple[str, ...], text: str | None, path: Path = ()
) -> Template:
    """The template given, or else the default one of the first relation.

    Raises:
        PromptRefusedError: there is neither, or the text breaks the rules of templates.
    """
    if text is None:
        if not relations:
            raise PromptRefusedError(
                (
                    FieldFault(
                        (*path, "template"),
                        "without a relation a template is needed, e.g. 'The capital of [X] is "
                        "[Y].'",
                    ),
                )
            )
        text = catalogue.find(relations[0]).mask.metadata.templates[0]
    try:
        return Template.parse(text)
    except TemplateError as error:
        raise PromptRefusedError((FieldFault((*path, "template"), str(error)),)) from error


def identity(base: BaseModel) -> BaseIdentity:
    """What an answer says of the base."""
    return BaseIdentity(name=base.name, digest=base.digest)


def _combine(text: str | None, relations: tuple[str, ...], path: Path) -> Combine:
    if text is None:
        return Combine()
    if not relations:
        detail = "there is no relation to combine; leave it out or name some"
        raise CombineError((FieldFault((*path, "combine"), detail),))
    try:
        combine = Combine.parse(text)
        combine.check_count(len(relations))
    except MaskExpressionError as error:
        raise CombineError((FieldFault((*path, "combine"), str(error)),)) from error
    return combine
