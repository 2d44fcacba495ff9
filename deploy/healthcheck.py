"""Exit 0 if the server in this container is ready. Standard library only, so that asking costs next to nothing."""

import os
import sys
from http.client import HTTPConnection

port = int(os.environ.get("HTTP_BIND", "0.0.0.0:8080").rpartition(":")[2])
connection = HTTPConnection("127.0.0.1", port, timeout=4)
try:
    connection.request("GET", "/readyz", headers={"Connection": "close"})
    sys.exit(connection.getresponse().status != 200)
except OSError as error:
    sys.exit(f"not reachable: {error}")
