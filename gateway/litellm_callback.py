"""Tidegate in the LiteLLM proxy: asks before every call, and publishes every try of it.

In the proxy's `config.yaml`::

    litellm_settings:
      callbacks: my_gateway.tidegate

and in `my_gateway.py` beside it::

    from pathlib import Path
    from gateway import Connection
    from gateway.litellm_callback import Tidegate
    tidegate = Tidegate.connect(Connection("kafka:9092"), Path("/var/spool/tidegate"), name="litellm-eu-1")

Needs `litellm[proxy]`, which Tidegate itself does not bring. Hooks as in litellm 1.100.5.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import sys
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

import msgspec
from fastapi import HTTPException
from litellm import token_counter
from litellm.integrations.custom_logger import CustomLogger

from gateway.broker import Connection
from gateway.clock import Clock, SystemClock
from gateway.decision import Rejection
from gateway.feed import Feed
from gateway.gate import Gate
from gateway.litellm_left import LAST, UNTOLD, asked, payload, said
from gateway.litellm_models import Models
from gateway.litellm_request import FORMAT, apply, call_of, record, spent
from gateway.policy import GatePolicy
from gateway.publisher import Publisher
from gateway.ticket import Ticket

_MAX_TICKETS: Final = 100_000
_MAX_UNKNOWN: Final = 1_000
_LOGGED_S: Final = 5.0
"""By then LiteLLM has logged a request that has ended: it does so aside."""

_LOG = logging.getLogger(__name__)


class Tidegate(CustomLogger):
    """One per proxy process.

    A request keeps one `litellm_call_id` through its retries and fallbacks. Its ticket is settled by the try that
    succeeds, or when the proxy gives the request up; a failed try is published and settles nothing.
    """

    def __init__(self, gate: Gate, publisher: Publisher) -> None:
        """Both are started, and fed, by whoever made them: see `connect`."""
        super().__init__()
        self.gate = gate
        self.publisher = publisher
        self._clock: Clock = SystemClock()
        self._models = Models()
        self._tickets: OrderedDict[str, Ticket] = OrderedDict()
        self._refused: OrderedDict[str, None] = OrderedDict()
        self._unknown: set[str] = set()
        self._streams: OrderedDict[str, None] = OrderedDict()

    @classmethod
    def connect(
        cls, connection: Connection, spool: Path | None, *, name: str, policy: GatePolicy | None = None
    ) -> Self:
        """Start everything, in the process that serves; what is queued is spooled at its end. Raises OSError."""
        gate = Gate(name, policy)
        publisher = Publisher(connection, spool, name=name).start()
        feed = Feed(connection, gate, name=name).start()
        atexit.register(publisher.close)
        atexit.register(feed.close)
        return cls(gate, publisher)

    async def async_pre_call_hook(
        self, user_api_key_dict: Any, cache: Any, data: dict[str, Any], call_type: str
    ) -> dict[str, Any]:
        """Let the request pass, perhaps later and perhaps changed. Raises HTTPException: 403 or 422."""
        call = call_of(data, user_api_key_dict)
        decision = self.gate.decide(msgspec.structs.replace(call, model=self._models.behind(call.model)))
        if decision.rejection is not None:
            self._refused[str(data.get("litellm_call_id"))] = None
            if len(self._refused) > _MAX_TICKETS:
                self._refused.popitem(last=False)
            raise _refused(decision.rejection)
        self._refused.pop(str(data.get("litellm_call_id")), None)
        if decision.ticket is not None:
            self._keep(str(data.get("litellm_call_id")), decision.ticket)
        if decision.delay_s:
            try:
                await asyncio.sleep(decision.delay_s)
            except asyncio.CancelledError:  # the client went away: the call is never made
                self._settle(data.get("litellm_call_id"), 0, 0)
                raise
        if decision.model is not None and not self._known(decision.model):
            decision = msgspec.structs.replace(decision, model=None)
        apply(decision, data)
        return data

    async def async_log_success_event(
        self, kwargs: Mapping[str, Any], response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        """A try has succeeded, or a stream has ended, also by the client's leaving."""
        told = self._publish(kwargs)
        if told is not None:
            self._streams.pop(str(told.get("litellm_call_id")), None)
            self._settle(told.get("litellm_call_id"), *spent(told))

    async def async_log_failure_event(
        self, kwargs: Mapping[str, Any], response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        """A try has failed, and another may follow; or a call was refused here, which LiteLLM logs as a failure.

        What was refused is not published: nobody was called, and a loop that is stopped must not look like one
        that goes on.
        """
        told = kwargs.get("standard_logging_object")
        refused = isinstance(told, Mapping) and str(told.get("litellm_call_id")) in self._refused
        if not refused:
            self._publish(kwargs)

    async def async_post_call_streaming_iterator_hook(
        self, user_api_key_dict: Any, response: AsyncIterator[Any], request_data: dict[str, Any]
    ) -> AsyncIterator[Any]:
        """Pass a stream on; when its client leaves one that LiteLLM will not log, tell of it."""
        details = getattr(request_data.get("litellm_logging_obj"), "model_call_details", {})
        call_id = str(request_data.get("litellm_call_id"))
        watched = details.get("call_type") in UNTOLD
        texts: list[str] = []
        began = self._clock.now().timestamp()
        if watched:
            self._streams[call_id] = None
            if len(self._streams) > _MAX_TICKETS:
                self._streams.popitem(last=False)
        try:
            async for chunk in response:
                if watched:
                    texts.append(said(chunk))
                    if getattr(chunk, "type", None) in LAST:
                        self._streams.pop(call_id, None)
                yield chunk
        except (asyncio.CancelledError, GeneratorExit):
            if call_id in self._streams:
                self._left(request_data, details, "".join(texts), began)
            raise
        finally:
            self._streams.pop(call_id, None)

    def _left(self, data: Mapping[str, Any], details: Mapping[str, Any], answer: str, began: float) -> None:
        model = str(details.get("model"))
        told = payload(
            data,
            details,
            began=began,
            ended=self._clock.now().timestamp(),
            input_tokens=token_counter(model=model, text=asked(data)),
            output_tokens=token_counter(model=model, text=answer) if answer else 0,
        )
        self._publish({"standard_logging_object": told})
        self._settle(data.get("litellm_call_id"), *spent(told))

    async def async_post_call_failure_hook(
        self,
        request_data: Mapping[str, Any],
        original_exception: Exception,
        user_api_key_dict: Any,
        traceback_str: str | None = None,
    ) -> None:
        """The request is given up: no other try follows."""
        self._settle(request_data.get("litellm_call_id"), 0, 0)

    def _known(self, model: str) -> bool:
        """Whether the proxy finds a model of this name. A downgrade to another would be an outage of our making."""
        router = getattr(sys.modules.get("litellm.proxy.proxy_server"), "llm_router", None)
        if (
            router is None
            or router.get_model_list(model_name=model)
            or model in router.deployment_names
            or router.default_deployment is not None
        ):
            return True
        if model not in self._unknown and len(self._unknown) < _MAX_UNKNOWN:
            self._unknown.add(model)
            _LOG.warning("the proxy has no model %s: calls are not downgraded to it", model)
        return False

    def _publish(self, kwargs: Mapping[str, Any]) -> Mapping[str, Any] | None:
        told = kwargs.get("standard_logging_object")
        if not isinstance(told, Mapping):
            _LOG.warning("a call without a standard_logging_object is not published")
            return None
        self._models.learn(told)
        kept = record(told)
        self.publisher.publish_foreign(kept.key, kept.value, FORMAT)
        return told

    def _keep(self, call_id: str, ticket: Ticket) -> None:
        # A client may name its calls itself, twice the same: the first of them is not held on to for that.
        self.gate.settle(self._tickets.pop(call_id, None))
        self._tickets[call_id] = ticket
        if (request := asyncio.current_task()) is not None:
            request.add_done_callback(partial(self._request_ended, ticket))
        if len(self._tickets) > _MAX_TICKETS:
            self.gate.settle(self._tickets.popitem(last=False)[1])

    def _request_ended(self, ticket: Ticket, request: asyncio.Task[Any]) -> None:
        """LiteLLM tells nobody of some calls, as when the client leaves just before the answer begins."""
        if ticket.open:
            request.get_loop().call_later(_LOGGED_S, self.gate.give_back, ticket)

    def _settle(self, call_id: object, cost_nanos: int, tokens: int) -> None:
        self.gate.settle(self._tickets.pop(str(call_id), None), cost_nanos, tokens)


def _refused(rejection: Rejection) -> HTTPException:
    """As the proxy makes an error of OpenAI's form of it."""
    error = HTTPException(status_code=rejection.status, detail=rejection.message)
    told = rejection.body()["error"]
    error.type = told["type"]
    error.param = None
    error.provider_specific_fields = {name: told[name] for name in ("code", "scope", "command_id")}
    return error
