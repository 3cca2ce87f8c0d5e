"""Alertmanager's API v2. Source: prometheus/alertmanager, api/v2/openapi.yaml, "POST /alerts"."""
