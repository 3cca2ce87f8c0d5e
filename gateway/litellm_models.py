"""What LiteLLM's model groups really call: requests name a group, cost events the model behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_MAX_GROUPS: Final = 1_000


class Models:
    """Learned from what was called: `gpt-4o` is `openai/gpt-4o` once a call of it has been logged.

    A group that balances between several models keeps its own name: which of them it will be is not known before
    the call, so a limit on one of them does not find it. Limit the group's workflows instead.
    """

    def __init__(self) -> None:
        self._behind: dict[str, str | None] = {}

    def learn(self, payload: Mapping[str, Any]) -> None:
        """Take in a `StandardLoggingPayload`."""
        group, model = payload.get("model_group"), payload.get("model")
        if payload.get("status") != "success" or not isinstance(group, str) or not isinstance(model, str):
            return
        if group not in self._behind and len(self._behind) < _MAX_GROUPS:
            self._behind[group] = model
        elif self._behind.get(group, model) != model:
            self._behind[group] = None

    def behind(self, group: str) -> str:
        """The model as cost events name it, if it is known and there is only one."""
        return self._behind.get(group) or group
