"""A word to who pressed a button, that nobody else sees."""

from __future__ import annotations

import logging
from typing import Final

import httpx
import orjson

from service.runtime.metrics import CALLBACKS_REPLIES

_TIMEOUT_S: Final = 5.0
_MAX_TEXT: Final = 2_000

_LOG = logging.getLogger(__name__)


class Replies:
    """Posts to the URLs that Slack gives out with each press."""

    def __init__(self, client: httpx.AsyncClient, hooks: str) -> None:
        """`hooks`: what such a URL begins with; no other is posted to, whoever signed the request."""
        self._client = client
        self._hooks = hooks

    async def tell(self, url: str, text: str) -> None:
        """Once, and without a word about a failure but in the log: what was asked for is done by now."""
        if not url.startswith(self._hooks):
            CALLBACKS_REPLIES.labels("elsewhere").inc()
            _LOG.warning("a press is to be answered elsewhere than at %s: it is not", self._hooks)
            return
        escaped = text[:_MAX_TEXT].replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        body = {"response_type": "ephemeral", "replace_original": False, "text": escaped}
        try:
            response = await self._client.post(
                url,
                content=orjson.dumps(body),
                headers={"Content-Type": "application/json"},
                timeout=_TIMEOUT_S,
            )
        except httpx.HTTPError as error:
            # The URL is a credential: the exception's own text may hold it.
            CALLBACKS_REPLIES.labels("failed").inc()
            _LOG.warning("a press could not be answered: %s", type(error).__name__)
            return
        CALLBACKS_REPLIES.labels("told" if response.is_success else "failed").inc()
