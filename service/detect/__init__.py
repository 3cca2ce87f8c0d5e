"""The keyed stage: rollups into per-workflow state, state into alerts and throttle commands.

`state` and `step` are pure; `effects` sends; `agent` and `app` are the thin edge to Faust.
"""
