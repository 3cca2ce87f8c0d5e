"""The wire contract: every record of every topic, one file per topic, nothing but validation.

Start at `schemas.topics` for the table of topics; `schemas/json` holds the same contract as JSON Schema
with golden examples for gateways in other languages.
"""
