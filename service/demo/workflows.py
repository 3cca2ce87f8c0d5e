"""The organisation of the demo: its workflows, who owns them, what they call, and how often."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from service.demo.traces import Row, TraceName, calls_with_context

RunLengths = tuple[int, ...]
"""Weights of runs of 1, 2, 3, … calls."""


@dataclass(frozen=True, slots=True)
class Workflow:
    """One workflow and the slice of a recorded trace that its calls are taken from.

    Attributes
    ----------
    models : tuple of (provider, model, weight)
        An agent run sticks to one.
    trace, least, most
        Calls of this trace with that many input tokens.
    calls_per_s : float
        At the busiest hour of the day.
    step_s : float
        Mean seconds between the calls of a run.
    prices : bool
        Its gateway computes `cost_usd`; else Tidegate prices the tokens.
    """

    name: str
    team: str
    features: tuple[str, ...]
    models: tuple[tuple[str, str, float], ...]
    trace: TraceName
    least: int
    most: int
    calls_per_s: float
    runs: RunLengths
    step_s: float
    customers: int
    gateway: str
    prices: bool

    @property
    def rows(self) -> tuple[Row, ...]:
        return calls_with_context(self.trace, self.least, self.most)

    @property
    def calls_per_run(self) -> float:
        weighted = sum(calls * weight for calls, weight in enumerate(self.runs, 1))
        return weighted / sum(self.runs)


SUPPORT: Final = Workflow(
    name="support-agent",
    team="care",
    features=("triage", "refund", "answer"),
    models=(("openai", "gpt-4.1", 0.8), ("anthropic", "claude-sonnet-4-5", 0.2)),
    trace="mooncake_conversation",
    least=1_500,
    most=12_000,
    calls_per_s=0.4,
    runs=(10, 18, 22, 18, 13, 9, 6, 4),
    step_s=3.0,
    customers=120,
    gateway="litellm-eu-1",
    prices=True,
)
CHAT: Final = Workflow(
    name="chat",
    team="consumer",
    features=("ask", "rewrite"),
    models=(("openai", "gpt-5-mini", 1.0),),
    trace="mooncake_conversation",
    least=500,
    most=24_000,
    calls_per_s=0.7,
    runs=(70, 30),
    step_s=2.0,
    customers=800,
    gateway="litellm-eu-2",
    prices=False,
)
SUMMARIES: Final = Workflow(
    name="doc-summaries",
    team="knowledge",
    features=("contract", "minutes"),
    models=(("google", "gemini-2.5-flash", 1.0),),
    trace="mooncake_conversation",
    least=12_000,
    most=130_000,
    calls_per_s=0.35,
    runs=(40, 30, 20, 10),
    step_s=6.0,
    customers=40,
    gateway="litellm-eu-1",
    prices=False,
)
COMPLETION: Final = Workflow(
    name="code-completion",
    team="platform",
    features=("inline", "docstring"),
    models=(("openai", "gpt-4.1-mini", 1.0),),
    trace="azure2023_code",
    least=1,
    most=7_500,
    calls_per_s=0.6,
    runs=(60, 30, 10),
    step_s=1.5,
    customers=60,
    gateway="litellm-us-1",
    prices=True,
)
REVIEW: Final = Workflow(
    name="code-review",
    team="platform",
    features=("pull-request", "security"),
    models=(("anthropic", "claude-sonnet-4-5", 1.0),),
    trace="azure2023_code",
    least=200,
    most=7_500,
    calls_per_s=0.45,
    runs=(10, 20, 25, 20, 12, 7, 4, 2),
    step_s=4.0,
    customers=60,
    gateway="litellm-us-1",
    prices=False,
)
WORKFLOWS: Final = (SUPPORT, CHAT, SUMMARIES, COMPLETION, REVIEW)
BY_NAME: Final = {workflow.name: workflow for workflow in WORKFLOWS}
