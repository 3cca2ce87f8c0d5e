"""The stage for gateways without Kafka: `POST /v1/events` puts cost events on the topic. docs/http-door.md.

`batch` is pure; `post` decides; `publisher` and `service.http` are the edges.
"""
