"""The outcomes role: joins outcomes with the calls of their traces, and says what an outcome costs."""
