"""The mask files: those that are served and refused; and to download, upload and delete one."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.access import AdminOnly
from app.body import read_bytes
from app.catalogue import RefusedFile, ServedMask
from app.conditions import RequestConditions, entity_tag
from app.problems import (
    BODY_TOO_LARGE,
    FORBIDDEN,
    INVALID_MASK_FILE,
    MASK_NOT_KEPT,
    NOT_READY,
    PRECONDITION_FAILED,
    REFUSED_RELATION,
    UNAUTHORIZED,
    UNKNOWN_RELATION,
    UNSUPPORTED_MEDIA_TYPE,
    documented,
)
from app.readiness import ReadyService
from app.schemas.masks import MaskFile, Masks, RefusedMaskFile, UploadedMask

router = APIRouter(tags=["masks"])

# There is no registered type for safetensors; these are what clients call it.
_MEDIA_TYPES = (
    "application/octet-stream",
    "application/vnd.safetensors",
    "application/x-safetensors",
)
_FILE: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}


@router.get("/masks", responses=documented(UNAUTHORIZED, NOT_READY))
async def list_masks(service: ReadyService) -> Masks:
    """Every mask file that was found, and why those that are not served were refused."""
    catalogue = service.catalogue
    return Masks(
        masks=[MaskFile(**_described(served)) for served in catalogue.served.values()],
        refused=[_refused(refused) for refused in catalogue.refused],
    )


@router.get(
    "/masks/{relation}",
    response_class=Response,
    responses={
        200: {"description": "The mask file.", "content": {_MEDIA_TYPES[0]: _FILE}},
        304: {"description": "If-None-Match names the file that is served."},
        **documented(
            UNAUTHORIZED, UNKNOWN_RELATION, REFUSED_RELATION, PRECONDITION_FAILED, NOT_READY
        ),
    },
)
async def download_mask(
    relation: str, conditions: RequestConditions, service: ReadyService
) -> Response:
    """The mask file of a relation, byte for byte as it was made."""
    served = service.catalogue.find(relation)
    headers = {"ETag": entity_tag(served.sha256), "Cache-Control": "no-cache"}
    if conditions.is_known(served.sha256):
        return Response(status_code=304, headers=headers)
    conditions.check(served.sha256)
    headers["Content-Disposition"] = f'attachment; filename="{served.file}"'
    return Response(served.data, media_type=_MEDIA_TYPES[0], headers=headers)


@router.put(
    "/masks/{relation}",
    dependencies=[AdminOnly],
    response_model=UploadedMask,
    responses={
        201: {"description": "The relation is new.", "model": UploadedMask},
        **documented(
            UNAUTHORIZED,
            FORBIDDEN,
            PRECONDITION_FAILED,
            BODY_TOO_LARGE,
            UNSUPPORTED_MEDIA_TYPE,
            INVALID_MASK_FILE,
            NOT_READY,
            MASK_NOT_KEPT,
        ),
    },
    openapi_extra={"requestBody": {"required": True, "content": {_MEDIA_TYPES[0]: _FILE}}},
)
async def upload_mask(
    relation: str, request: Request, conditions: RequestConditions, service: ReadyService
) -> Response:
    """Serve a mask file, from the next question on; questions under way keep their mask.

    It is checked completely before anything changes. The same file again changes nothing.
    """
    data = await read_bytes(request, service.settings.max_mask_bytes, _MEDIA_TYPES)
    uploaded = await service.hot_masks.put(relation, data, conditions)
    described = UploadedMask(
        **_described(uploaded.served),
        persisted=uploaded.persisted,
        replicated=uploaded.replicated,
    )
    return Response(
        described.model_dump_json(),
        201 if uploaded.created else 200,
        {"ETag": entity_tag(uploaded.served.sha256)},
        "application/json",
    )


@router.delete(
    "/masks/{relation}",
    status_code=204,
    dependencies=[AdminOnly],
    responses=documented(
        UNAUTHORIZED,
        FORBIDDEN,
        UNKNOWN_RELATION,
        PRECONDITION_FAILED,
        NOT_READY,
        MASK_NOT_KEPT,
    ),
)
async def delete_mask(relation: str, conditions: RequestConditions, service: ReadyService) -> None:
    """Serve a relation no more, also if a pack has it; uploading a file brings it back."""
    await service.hot_masks.delete(relation, conditions)


def _described(served: ServedMask) -> dict[str, Any]:
    mask, metadata = served.mask, served.mask.metadata
    return {
        "relation": mask.relation,
        "pack": served.pack,
        "file": served.file,
        "bytes": served.byte_size,
        "sha256": served.sha256,
        "digest": mask.digest,
        "layers": metadata.layers,
        "method": metadata.method,
        "threshold": metadata.threshold,
        "sparsity": mask.sparsity,
        "bits_per_weight": mask.bits_per_weight,
        "weights": mask.weight_count,
        "seed": metadata.seed,
        "base": mask.base_digest,
        "data": metadata.data_name,
        "data_digest": metadata.data_digest,
        "tool_version": metadata.tool_version,
    }


def _refused(refused: RefusedFile) -> RefusedMaskFile:
    return RefusedMaskFile(
        file=refused.file, reason=refused.reason, pack=refused.pack, relation=refused.relation
    )
