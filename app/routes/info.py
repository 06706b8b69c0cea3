"""What runs here."""

import torch
from fastapi import APIRouter

from app.problems import NOT_READY, documented
from app.readiness import ReadyService
from app.schemas.common import MAX_RELATIONS, MAX_TEXT
from app.schemas.info import BaseInfo, Info, Limits, PackInfo
from app.version import relata_version

router = APIRouter(tags=["service"])


@router.get("/info", responses=documented(NOT_READY))
async def info(service: ReadyService) -> Info:
    """Version, base model, packs, limits and settings."""
    base, settings = service.engine.base, service.settings
    return Info(
        version=relata_version(),
        base=BaseInfo(
            name=base.name,
            digest=base.digest,
            architecture=base.architecture.model_type,
            layers=base.layer_count,
            hidden_size=base.hidden_size,
            vocabulary=base.vocab_size,
            max_tokens=base.max_length,
            mask_token=base.mask_token,
        ),
        device=str(base.device),
        dtype=str(base.products).removeprefix("torch."),
        threads=torch.get_num_threads(),
        packs=[
            PackInfo(name=pack.name, base_model=pack.base_model, relations=pack.relations)
            for pack in service.catalogue.packs
        ],
        limits=Limits(
            body_bytes=settings.max_body_bytes,
            queries=settings.max_queries,
            completions=settings.max_completions,
            candidates=settings.max_candidates,
            rows=settings.max_rows,
            relations=MAX_RELATIONS,
            text_characters=MAX_TEXT,
            queue_size=settings.queue_size,
            queue_rows=settings.queue_rows,
            timeout_seconds=settings.max_request_timeout,
        ),
        settings=settings.public(),
    )
