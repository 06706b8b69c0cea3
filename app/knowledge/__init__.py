"""Knowledge bases: files of known facts, loaded at the start.

They say which objects may stand in a relation, and which triples are known already.
"""

from app.knowledge.collection import Knowledge
from app.knowledge.fact_file import BadLine, FactFile, read_facts
from app.knowledge.knowledge_base import KnowledgeBase, RelationFacts, Role

__all__ = [
    "BadLine",
    "FactFile",
    "Knowledge",
    "KnowledgeBase",
    "RelationFacts",
    "Role",
    "read_facts",
]
