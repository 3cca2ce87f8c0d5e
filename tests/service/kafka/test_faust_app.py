"""The app's settings, its credentials, and how it ends."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError
from faust.auth import SASLCredentials, SSLCredentials
from faust.exceptions import AlreadyConfiguredWarning, ImproperlyConfigured
from pydantic import SecretStr

from service.kafka.embedded.broker import free_port
from service.kafka.faust_transport import GuardedApp, Transport, build_app
from service.kafka.faust_transport.security import credentials
from tests.upstream.consumers import bench


def _app(**more: Any) -> GuardedApp:
    return build_app(
        **{
            "app_id": "unit",
            "bootstrap": "one:9092, two:9093",
            "security": None,
            "on_fatal": lambda _: None,
            **more,
        }
    )


class TestSettings:
    def test_every_server_is_used(self) -> None:
        assert [(url.host, url.port) for url in _app().transport.url] == [("one", 9092), ("two", 9093)]

    def test_nothing_is_created_served_or_standing_by(self) -> None:
        conf = _app().conf
        assert not any([conf.topic_allow_declare, conf.web_enabled, conf.reply_create_topic])
        assert (conf.topic_disable_leader, conf.table_standby_replicas) == (True, 0)

    def test_a_heartbeat_fits_several_times_into_a_session_and_a_session_into_a_request(self) -> None:
        conf = _app(session_timeout_s=12.0).conf
        assert conf.broker_heartbeat_interval * 3 < conf.broker_session_timeout < conf.broker_request_timeout

    def test_commits_come_at_least_twice_in_the_lag(self) -> None:
        assert _app(commit_lag_s=0.5).conf.broker_commit_interval <= 0.25
        assert _app(commit_lag_s=60.0).conf.broker_commit_interval == 1.0

    async def test_the_producer_is_idempotent_and_waits_for_every_replica(self) -> None:
        with bench(ours=True) as our:
            producer = our.app.producer
            settings = {**producer._settings_default(), **producer._settings_extra()}
        assert (settings["acks"], settings["enable_idempotence"], settings["compression_type"]) == (
            -1,
            True,
            "zstd",
        )

    def test_the_root_logger_is_left_alone(self) -> None:
        before = (logging.root.level, list(logging.root.handlers))
        _app()
        assert (logging.root.level, list(logging.root.handlers)) == before

    def test_the_transport_refuses_an_app_it_was_not_made_for(self) -> None:
        app = _app()
        with pytest.warns(AlreadyConfiguredWarning):
            app.conf.consumer_auto_offset_reset = "latest"
        with pytest.raises(ImproperlyConfigured):
            Transport(app.conf.broker_consumer, app)


class TestCredentials:
    @pytest.mark.parametrize("security", [None, {}, {"security_protocol": "PLAINTEXT"}, {"cafile": None}])
    def test_none_for_a_plain_connection(self, security: dict[str, Any] | None) -> None:
        assert credentials(security) is None

    def test_tls(self) -> None:
        assert isinstance(credentials({"security_protocol": "SSL"}), SSLCredentials)

    @pytest.mark.parametrize("password", ["hush", SecretStr("hush")])
    def test_sasl_over_tls(self, password: Any) -> None:
        made = credentials(
            {
                "security_protocol": "SASL_SSL",
                "sasl_mechanism": "SCRAM-SHA-512",
                "username": "tidegate",
                "password": password,
            }
        )
        assert isinstance(made, SASLCredentials)
        assert (made.protocol.value, made.mechanism.value) == ("SASL_SSL", "SCRAM-SHA-512")
        assert (made.username, made.password, "hush" in repr(made)) == ("tidegate", "hush", False)

    @pytest.mark.parametrize(
        "security",
        [
            {"security_protocol": "SSLV2"},
            {
                "security_protocol": "SASL_SSL",
                "sasl_mechanism": "GSSAPI",
                "username": "u",
                "password": "hush",
            },
            {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN", "username": "u"},
            {"security_protocol": "SSL", "keyfile": "key.pem"},
            {"pasword": "hush"},
        ],
    )
    def test_anything_else_is_refused_without_the_secret(self, security: dict[str, Any]) -> None:
        with pytest.raises(ValueError) as refused:
            credentials(security)
        assert "hush" not in str(refused.value)


async def test_a_broker_that_is_not_there_is_an_error_at_once() -> None:
    app = _app(bootstrap=f"127.0.0.1:{free_port()}")
    with pytest.raises(KafkaConnectionError):
        await asyncio.wait_for(app.run_until(asyncio.Event()), 60)
