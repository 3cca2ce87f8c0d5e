"""What a Python gateway embeds: publish cost events, obey throttles and budgets. See docs/gateway.md."""

from gateway.call import Call
from gateway.decision import Decision, Rejection
from gateway.gate import Gate
from gateway.policy import GatePolicy
from gateway.ticket import Ticket

__all__ = ["Call", "Decision", "Gate", "GatePolicy", "Rejection", "Ticket"]
