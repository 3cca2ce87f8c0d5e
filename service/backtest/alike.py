"""Which workflows two configurations judge alike, so that judging them once is enough."""

from __future__ import annotations

from fnmatch import fnmatchcase

from schemas.control import Launch, Tuning, Watch
from service.rules.config import ConfigBook


class Alike:
    """The difference of two configurations, as far as detect looks at them: tunings, launches and watches.

    What holds for a workflow is taken from its tunings by name and by team, its launches, and for a scope from
    the watches. Where none of the records that differ can be about a workflow, its states and alerts are the same
    under both, but for the version that the alerts name.
    """

    def __init__(self, one: ConfigBook, other: ConfigBook) -> None:
        differing = [
            record
            for a, b in ((one, other), (other, one))
            for key, record in a.records.items()
            if key not in b.records or b.records[key].to_json() != record.to_json()
        ]
        tunings = [record.scope for record in differing if isinstance(record, Tuning)]
        # Of which team a workflow is says each call anew: what differs for a team may be about any workflow.
        self._everything = any(scope.workflow is None for scope in tunings) or any(
            isinstance(record, Watch) for record in differing
        )
        self._patterns = {scope.workflow for scope in tunings if scope.workflow is not None}
        self._patterns |= {record.workflow for record in differing if isinstance(record, Launch)}
        self._known: dict[str, bool] = {}

    @property
    def mostly(self) -> bool:
        """Whether only workflows of some names are judged otherwise, or none."""
        return not self._everything and "*" not in self._patterns

    def judged(self, key: str) -> bool:
        """Whether a workflow, or a scope by its key, is judged alike."""
        if self._everything:
            return False
        found = self._known.get(key)
        if found is None:
            # A scope is matched like a workflow: too often, and never too rarely.
            found = self._known[key] = not any(fnmatchcase(key, pattern) for pattern in self._patterns)
        return found
