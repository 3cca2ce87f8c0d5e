"""`python -m service.demo.role ROLE`: as `tidegate ROLE`, but patient with a broker that holds no fetch."""

from __future__ import annotations

from service.cli import main
from service.kafka.embedded.pacing import pace_empty_fetches

if __name__ == "__main__":
    pace_empty_fetches()
    main()
