"""How well incidents are told from launches: labelled streams of events, our detectors and others' side by side."""
