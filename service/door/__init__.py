"""The stage for gateways without Kafka: `POST /v1/events` puts cost events on the topic. docs/http-door.md.

`batch`, `keyring` and `problem` are pure; `post` decides; `server` and `publisher` are the edges.
"""
