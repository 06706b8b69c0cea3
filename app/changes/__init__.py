"""How the masks that are served change: by uploads, watched folders, and other replicas."""

from app.changes.hot import HotMasks
from app.changes.packs import check_distinct
from app.changes.register import Accepted, MaskRegister

__all__ = ["Accepted", "HotMasks", "MaskRegister", "check_distinct"]
