"""The detectors there are. A new one is a file, a line here, and nothing else: the battery finds it."""

from __future__ import annotations

from typing import Final

from detectors.concentration import Concentration
from detectors.expected_spend import ExpectedSpend
from detectors.live_trace import LiveTrace
from detectors.protocol import Detector
from detectors.silence import Silence
from detectors.unit_cost import UnitCost

DETECTORS: Final[dict[str, type[Detector]]] = {
    Concentration.name: Concentration,
    ExpectedSpend.name: ExpectedSpend,
    LiveTrace.name: LiveTrace,
    UnitCost.name: UnitCost,
}
"""Of every workflow."""
OF_GATEWAYS: Final[dict[str, type[Detector]]] = {Silence.name: Silence}
"""Of gateways: a workflow may stop for many reasons, and when a gateway does, all of its workflows do."""
