"""The knowledge bases that were loaded."""

from fastapi import APIRouter

from app.knowledge import KnowledgeBase
from app.problems import NOT_READY, documented
from app.readiness import ReadyService
from app.schemas.knowledge import (
    BadFactLine,
    KnowledgeBaseInfo,
    KnowledgeBases,
    KnownRelation,
)

router = APIRouter(tags=["links"])

_SHOWN_LINES = 100


@router.get("/knowledge", responses=documented(NOT_READY))
async def list_knowledge(service: ReadyService) -> KnowledgeBases:
    """Every knowledge base, what it holds, and the lines of its file that are no fact."""
    return KnowledgeBases(knowledge=[_info(base) for base in service.knowledge.bases.values()])


def _info(base: KnowledgeBase) -> KnowledgeBaseInfo:
    return KnowledgeBaseInfo(
        name=base.name,
        file=base.file,
        format=base.format,
        digest=base.digest,
        triples=base.triples,
        entities=len(base.entities),
        subjects=base.subjects,
        objects=base.objects,
        relations=[
            KnownRelation(
                name=facts.relation,
                triples=facts.triples,
                subjects=facts.subjects,
                objects=facts.objects,
            )
            for facts in base.relations
        ],
        duplicates=base.duplicates,
        bad_lines=len(base.bad_lines),
        first_bad_lines=[
            BadFactLine(line=line.number, reason=line.reason)
            for line in base.bad_lines[:_SHOWN_LINES]
        ],
    )
