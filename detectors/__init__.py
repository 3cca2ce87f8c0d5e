"""Numbers in, verdicts out: no clock, no I/O, no Kafka, nothing of the wire contract.

`protocol` says what a detector is, `registry` which there are; one detector a file. The battery in
`tests/detectors` runs over every registered one.
"""

from typing import Final

from compiled import put_first

COMPILED: Final = put_first(__name__, __path__)
"""Whether the arithmetic of every window runs as machine code."""
