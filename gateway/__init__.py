"""What a Python gateway embeds: publish cost events, obey throttles and budgets. See docs/gateway.md."""

from gateway.broker import Connection
from gateway.call import Call
from gateway.decision import Decision, Rejection
from gateway.feed import Feed
from gateway.gate import Gate
from gateway.policy import GatePolicy
from gateway.publisher import Publisher
from gateway.ticket import Ticket

__all__ = ["Call", "Connection", "Decision", "Feed", "Gate", "GatePolicy", "Publisher", "Rejection", "Ticket"]
