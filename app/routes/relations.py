"""The relations that can be asked for."""

from fastapi import APIRouter

from app.catalogue import ServedMask
from app.problems import NOT_READY, REFUSED_RELATION, UNKNOWN_RELATION, documented
from app.readiness import ReadyService
from app.schemas.relations import Relation, Relations

router = APIRouter(tags=["relations"])


@router.get("/relations", responses=documented(NOT_READY))
async def list_relations(service: ReadyService) -> Relations:
    """Every relation with its templates, its accuracy on validation facts and its mask."""
    return Relations(relations=[_relation(mask) for mask in service.catalogue.served.values()])


@router.get(
    "/relations/{relation}",
    responses=documented(UNKNOWN_RELATION, REFUSED_RELATION, NOT_READY),
)
async def show_relation(relation: str, service: ReadyService) -> Relation:
    """One relation."""
    return _relation(service.catalogue.find(relation))


def _relation(served: ServedMask) -> Relation:
    mask = served.mask
    return Relation(
        name=mask.relation,
        templates=list(mask.metadata.templates),
        sparsity=mask.sparsity,
        validation=dict(mask.metadata.validation),
        facts=dict(mask.metadata.facts),
        pack=served.pack,
        digest=mask.digest,
    )
