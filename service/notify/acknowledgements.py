"""Who took what. Pure: a fold of the acknowledgements topic."""

from __future__ import annotations

from datetime import datetime

from schemas.notifications import Acknowledgement


class Acknowledgements:
    """The last word on each alert and incident. Order does not matter, nor does reading one twice."""

    def __init__(self) -> None:
        self._last: dict[str, Acknowledgement] = {}

    def apply(self, said: Acknowledgement) -> bool:
        """Returns whether it is news."""
        known = self._last.get(said.fingerprint)
        if known is not None and (known.at, known.to_json()) >= (said.at, said.to_json()):
            return False
        self._last[said.fingerprint] = said
        return True

    def of(self, fingerprint: str, incident: str | None, told_at: datetime | None) -> Acknowledgement | None:
        """Who took an alert: itself, or the incident that it was told in, by then.

        The later of the two decides, so that one can be withdrawn where the other stands.
        """
        own = self._last.get(fingerprint)
        whole = self._last.get(incident) if incident is not None and told_at is not None else None
        if whole is not None and told_at is not None and whole.at < told_at:
            whole = None
        last = max((one for one in (own, whole) if one is not None), key=lambda one: one.at, default=None)
        return last if last is not None and last.state == "acknowledged" else None

    def forget_before(self, then: datetime) -> None:
        """Let go what no alert that is kept can be about."""
        self._last = {key: said for key, said in self._last.items() if said.at >= then}

    def __len__(self) -> int:
        return len(self._last)
