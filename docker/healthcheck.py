"""Exits with 0 if the server of this container is ready: the image needs no curl for it."""

import http.client
import os
import sys

connection = http.client.HTTPConnection(
    "127.0.0.1", int(os.environ.get("RELATA_PORT") or 8000), timeout=4
)
try:
    connection.request("GET", "/ready")
    status = connection.getresponse().status
except (OSError, http.client.HTTPException) as error:
    sys.exit(f"not answering: {error}")
finally:
    connection.close()
if status != http.client.OK:
    sys.exit(f"not ready: GET /ready answered {status}")
