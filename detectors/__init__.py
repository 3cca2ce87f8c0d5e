"""Numbers in, verdicts out: no clock, no I/O, no Kafka, nothing of the wire contract.

`protocol` says what a detector is, `registry` which there are; one detector a file. The battery in
`tests/detectors` runs over every registered one.
"""
