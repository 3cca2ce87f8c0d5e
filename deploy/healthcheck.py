"""Exit status 0 if a role of this container answers /healthz with 200 and none answers otherwise.

For the image's HEALTHCHECK: one image runs any role, or all of them, so every role's port is asked. Standard
library only. Ports and host come from the same variables as the roles' own.
"""

from __future__ import annotations

import os
import sys
from http.client import HTTPConnection, HTTPException

PORTS = {
    "INGEST_PORT": "9101",
    "DETECT_PORT": "9102",
    "NOTIFY_PORT": "9103",
    "DOOR_PORT": "9104",
    "BUDGETS_PORT": "9105",
    "DECISIONS_PORT": "9106",
    "THROTTLES_PORT": "9107",
    "OUTCOMES_PORT": "9108",
    "CALLBACKS_PORT": "9109",
}
TIMEOUT_S = 3.0


def ports() -> list[int]:
    """The ports that a role in this container may listen on."""
    one = int(os.environ.get("TIDEGATE_HEALTH__PORT", "0"))
    return [one] if one else [int(os.environ.get(f"TIDEGATE_HEALTH__{name}", p)) for name, p in PORTS.items()]


def status(port: int) -> int | None:
    """What /healthz answers with; None if nobody listens. 0: somebody does, and does not answer."""
    connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status
    except ConnectionRefusedError:
        return None
    except (OSError, HTTPException):
        return 0
    finally:
        connection.close()


def main() -> int:
    answers = {port: answer for port in ports() if (answer := status(port)) is not None}
    return 0 if answers and all(answer == 200 for answer in answers.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
