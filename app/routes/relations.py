"""The relations that can be asked for."""

from dataclasses import asdict

from anyio import to_thread
from fastapi import APIRouter

from app.catalogue import Catalogue, ServedMask
from app.problems import NOT_READY, REFUSED_RELATION, UNKNOWN_RELATION, documented
from app.readiness import ReadyService
from app.schemas.relations import (
    CalibrationInfo,
    Relation,
    RelationDetail,
    Relations,
    SimilarRelation,
)
from masks import sparsity_by_layer, sparsity_by_role

router = APIRouter(tags=["relations"])


@router.get("/relations", responses=documented(NOT_READY))
async def list_relations(service: ReadyService) -> Relations:
    """Every relation with its templates, its accuracy on validation facts and its mask."""
    return Relations(relations=[_relation(mask) for mask in service.catalogue.served.values()])


@router.get(
    "/relations/{relation}",
    responses=documented(UNKNOWN_RELATION, REFUSED_RELATION, NOT_READY),
)
async def show_relation(relation: str, service: ReadyService) -> RelationDetail:
    """One relation: its mask in detail, its calibration, and the relations most like it."""
    # Every other mask may have to be looked at.
    return await to_thread.run_sync(_detail, service.catalogue, relation)


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


def _detail(catalogue: Catalogue, relation: str) -> RelationDetail:
    served = catalogue.find(relation)
    mask, metadata = served.mask, served.mask.metadata
    calibration = metadata.calibration
    return RelationDetail(
        **_relation(served).model_dump(),
        method=metadata.method,
        layers=metadata.layers,
        bits_per_weight=mask.bits_per_weight,
        sparsity_by_layer=sparsity_by_layer(mask),
        sparsity_by_role=sparsity_by_role(mask),
        calibration=None if calibration is None else CalibrationInfo(**asdict(calibration)),
        similar=[
            SimilarRelation(name=one.relation, **asdict(one.overlap))
            for one in catalogue.similar(relation)
        ],
    )
