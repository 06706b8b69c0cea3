"""A thin client of the service, `relata.Client` and `relata.AsyncClient`; needs httpx alone.

Each method is one request and returns the answer's JSON as it came; a problem becomes an error.
"""

from app.client.client import AsyncClient, Client
from app.client.errors import RelataConnectionError, RelataError, RelataProblem

__all__ = ["AsyncClient", "Client", "RelataConnectionError", "RelataError", "RelataProblem"]
