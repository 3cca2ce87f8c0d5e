"""Decisions as pure functions: which configuration holds, when an incident fires, what to throttle."""
