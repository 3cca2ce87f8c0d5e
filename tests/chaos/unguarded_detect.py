"""`tidegate detect` without the offset guard, to show that the totals test can fail."""

from __future__ import annotations

import sys

from schemas.rollups import Rollup
from service.cli import main
from service.detect.desk import Applied, Desk
from service.rules.config import ConfigBook

_guarded = Desk._rollup


def _unguarded(self: Desk, record: Rollup, offset: int, book: ConfigBook) -> Applied:
    state = self._lookup(record.workflow)
    if state is not None:
        state.applied = {self.partition: -1}
    return _guarded(self, record, offset, book)


if __name__ == "__main__":
    Desk._rollup = _unguarded  # type: ignore[method-assign]
    sys.argv = ["tidegate", "detect"]
    main()
