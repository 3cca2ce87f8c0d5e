"""Measurements, each printing one JSON line. Never in the wheel."""
