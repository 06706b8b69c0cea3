"""The mask files: those that are served, and those that were refused."""

from fastapi import APIRouter

from app.catalogue import RefusedFile, ServedMask
from app.problems import NOT_READY, documented
from app.readiness import ReadyService
from app.schemas.masks import MaskFile, Masks, RefusedMaskFile

router = APIRouter(tags=["masks"])


@router.get("/masks", responses=documented(NOT_READY))
async def list_masks(service: ReadyService) -> Masks:
    """Every mask file that was found, and why those that are not served were refused."""
    return Masks(
        masks=[_mask_file(served) for served in service.catalogue.served.values()],
        refused=[_refused(refused) for refused in service.catalogue.refused],
    )


def _mask_file(served: ServedMask) -> MaskFile:
    mask, metadata = served.mask, served.mask.metadata
    return MaskFile(
        relation=mask.relation,
        pack=served.pack,
        file=served.file,
        bytes=served.byte_size,
        digest=mask.digest,
        layers=metadata.layers,
        method=metadata.method,
        threshold=metadata.threshold,
        sparsity=mask.sparsity,
        weights=mask.weight_count,
        seed=metadata.seed,
        base=mask.base_digest,
        data=metadata.data_name,
        data_digest=metadata.data_digest,
        tool_version=metadata.tool_version,
    )


def _refused(refused: RefusedFile) -> RefusedMaskFile:
    return RefusedMaskFile(
        file=refused.file, reason=refused.reason, pack=refused.pack, relation=refused.relation
    )
