"""What Prometheus reads: what requests and passes record, and what is looked up when it asks.

Every application has a registry of its own.
"""

from app.metrics.metrics import Metrics

__all__ = ["Metrics"]
