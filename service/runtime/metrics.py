"""Every metric of every role, declared once. Name: `tidegate_<role>_<what>_<unit>`.

Labels are bounded: reasons, kinds, severities and partitions are few; the name of a model or receiver goes
through `bounded`, because what comes off a topic may name anything. No workflow is ever a label: the spend of
each workflow is on the topics, where it is exact.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

_FAST: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SLOW: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_BYTES: Final = (256, 512, 1_024, 2_048, 4_096, 8_192, 16_384, 32_768, 65_536)

OTHER: Final = "other"
_MAX_VALUES: Final = 200
_seen: dict[str, set[str]] = {}


def bounded(label: str, value: str) -> str:
    """`value` for the first 200 values of a label, after that `other`: no input can fill the memory."""
    values = _seen.setdefault(label, set())
    if value not in values:
        if len(values) >= _MAX_VALUES:
            return OTHER
        values.add(value)
    return value


# --- every role -------------------------------------------------------------------------------------------

CONFIG_OFFSET: Final = Gauge(
    "tidegate_config_applied_offset", "Offset of the last config record this process applied", ["role"]
)
"""Two processes that stay apart here judge by different rules."""
CONFIG_INFO: Final = Gauge(
    "tidegate_config_version_info", "1 for the config version in force", ["role", "version"]
)
CONFIG_REFUSED: Final = Counter(
    "tidegate_config_refused_total",
    "Config records that were refused; the last good one stays",
    ["role", "reason"],
)
CONFIG_READ_ERRORS: Final = Counter(
    "tidegate_config_read_errors_total", "Failures to read the config topic or to report a refusal", ["role"]
)

# --- topics that a role follows as a whole ----------------------------------------------------------------

VIEW_POSITION: Final = Gauge(
    "tidegate_view_position", "Offset that is read next of a topic that is followed", ["topic", "partition"]
)
VIEW_REFUSED: Final = Counter(
    "tidegate_view_refused_total", "Records of such a topic that were left out", ["topic", "reason"]
)

# --- ingest -----------------------------------------------------------------------------------------------

INGEST_EVENTS: Final = Counter(
    "tidegate_ingest_events_total", "Cost events read and committed", ["partition"]
)
INGEST_BYTES: Final = Counter("tidegate_ingest_bytes_total", "Bytes of record values read and committed")
INGEST_COST: Final = Counter(
    "tidegate_ingest_cost_usd_total", "Spend accounted, for rates only: the exact sum is in the rollups"
)
INGEST_ROLLUPS: Final = Counter("tidegate_ingest_rollups_total", "Rollups written and committed")
INGEST_TRACE_COSTS: Final = Counter(
    "tidegate_ingest_trace_costs_total", "Records of what traces cost, written and committed"
)
INGEST_TICKS: Final = Counter("tidegate_ingest_ticks_total", "Ticks written and committed, all partitions")
INGEST_DEAD_LETTERS: Final = Counter(
    "tidegate_ingest_dead_letters_total", "Events refused and kept as dead letters", ["reason"]
)
INGEST_DUPLICATES: Final = Counter(
    "tidegate_ingest_duplicates_total", "Events dropped because their event_id had been seen"
)
INGEST_LATE: Final = Counter(
    "tidegate_ingest_late_total", "Events behind the watermark; their money is counted all the same"
)
INGEST_UNATTRIBUTED: Final = Counter("tidegate_ingest_unattributed_total", "Events that name no workflow")
INGEST_UNPRICED: Final = Counter(
    "tidegate_ingest_unpriced_calls_total", "Calls with neither a cost nor a list price", ["model"]
)
INGEST_PRICE_FAULTS: Final = Counter(
    "tidegate_ingest_price_faults_total",
    "Calls whose cost is missing or hard to believe: unpriced, zero_cost, off_list, unknown_tier",
    ["kind", "model"],
)
"""A model that appears here is spend nobody sees: publish a price record."""
INGEST_COMMIT_SECONDS: Final = Histogram(
    "tidegate_ingest_commit_seconds", "From begin to committed of one transaction", buckets=_FAST
)
INGEST_FOLD_SECONDS: Final = Histogram(
    "tidegate_ingest_fold_seconds", "Decoding, pricing and folding of one batch", buckets=_FAST
)
INGEST_TRANSACTIONS: Final = Counter(
    "tidegate_ingest_transactions_total", "Transactions by how they ended", ["result"]
)
"""result: committed, aborted, fenced."""
INGEST_LAG: Final = Gauge(
    "tidegate_ingest_lag_records", "End of the partition less our position", ["partition"]
)
INGEST_WATERMARK_AGE: Final = Gauge(
    "tidegate_ingest_watermark_age_seconds", "Wall time less the partition's watermark", ["partition"]
)
INGEST_LANES: Final = Gauge("tidegate_ingest_lanes", "Input partitions this process owns")
INGEST_FENCED: Final = Counter(
    "tidegate_ingest_fenced_total", "Lanes dropped because another process had taken the partition over"
)

# --- detect -----------------------------------------------------------------------------------------------

DETECT_RECORDS: Final = Counter(
    "tidegate_detect_records_total", "Records of the rollups topic applied", ["type"]
)
"""type: rollup, tick."""
DETECT_SKIPPED: Final = Counter(
    "tidegate_detect_skipped_total", "Rollups already in the state, skipped by the offset guard"
)
"""Normal after a rebalance or restart; steady growth without one is not."""
DETECT_REFUSED: Final = Counter(
    "tidegate_detect_refused_total", "Records of the rollups topic refused", ["reason"]
)
DETECT_STEP_SECONDS: Final = Histogram(
    "tidegate_detect_step_seconds", "One record through state, detectors and rules", buckets=_FAST
)
DETECT_STATE_BYTES: Final = Histogram(
    "tidegate_detect_state_bytes", "Size of one workflow's state as it was written", buckets=_BYTES
)
DETECT_STATE_TRIMMED: Final = Counter(
    "tidegate_detect_state_trimmed_total", "States over the soft cap that were cut to size"
)
DETECT_WORKFLOWS: Final = Gauge("tidegate_detect_workflows", "Workflows this process holds the state of")
DETECT_ALERTS: Final = Counter(
    "tidegate_detect_alerts_total", "Alert records sent", ["kind", "severity", "status"]
)
DETECT_FIRING: Final = Gauge("tidegate_detect_firing_alerts", "Incidents firing now", ["kind"])
DETECT_SEND_ERRORS: Final = Counter(
    "tidegate_detect_send_errors_total", "Sends that failed; each stops the process so that it is done again"
)
DETECT_WATERMARK_AGE: Final = Gauge(
    "tidegate_detect_watermark_age_seconds", "Wall time less the watermark over all sources"
)
DETECT_ALERT_DELAY: Final = Histogram(
    "tidegate_detect_alert_delay_seconds",
    "Wall time at the first alert of an incident less the event time it fired at",
    buckets=_SLOW,
)
DETECT_RECOVERING: Final = Gauge(
    "tidegate_detect_recovering", "1 while the state is being rebuilt from its changelog"
)
DETECT_LAG: Final = Gauge(
    "tidegate_detect_lag_records", "End of the partition less our position", ["partition"]
)

# --- notify -----------------------------------------------------------------------------------------------

NOTIFY_ALERTS: Final = Counter("tidegate_notify_alerts_total", "Alert records read", ["status"])
NOTIFY_REFUSED: Final = Counter(
    "tidegate_notify_refused_total", "Records of the alerts topic refused", ["reason"]
)
NOTIFY_SENDS: Final = Counter(
    "tidegate_notify_sends_total", "Attempts to deliver, by what came of it", ["receiver", "result"]
)
"""result: delivered, retryable, final."""
NOTIFY_MUTED: Final = Counter(
    "tidegate_notify_muted_total", "Notifications not sent on purpose", ["receiver", "why"]
)
"""why: silenced, maintenance, launch, inhibited, short, refused_before, severity, no_receiver."""
NOTIFY_SEND_SECONDS: Final = Histogram(
    "tidegate_notify_send_seconds", "One attempt, answer included", ["receiver"], buckets=_SLOW
)
NOTIFY_RETRIES: Final = Counter("tidegate_notify_retries_total", "Attempts after the first", ["receiver"])
NOTIFY_PARKED: Final = Counter(
    "tidegate_notify_parked_total", "Notifications given up on and kept on a topic", ["receiver", "outcome"]
)
"""Page on this: somebody was not told."""
NOTIFY_PENDING: Final = Gauge("tidegate_notify_pending", "Notifications waiting for delivery", ["receiver"])
NOTIFY_DELAY: Final = Histogram(
    "tidegate_notify_delay_seconds", "Wall time at delivery less the alert's time of update", buckets=_SLOW
)
NOTIFY_POSITION: Final = Gauge(
    "tidegate_notify_position", "Offset of the alerts topic that is read next", ["partition"]
)
NOTIFY_LAG: Final = Gauge(
    "tidegate_notify_lag_records", "End of the partition less our position", ["partition"]
)

# --- budgets ----------------------------------------------------------------------------------------------

BUDGETS_ACCOUNTS: Final = Gauge("tidegate_budgets_accounts", "Budgets that are counted")
BUDGETS_REFUSED: Final = Counter(
    "tidegate_budgets_refused_total", "Records of the rollups topic that could not be counted", ["reason"]
)
BUDGETS_TRANSACTIONS: Final = Counter(
    "tidegate_budgets_transactions_total", "Transactions, by how they ended", ["result"]
)
"""result: committed, aborted, fenced."""
BUDGETS_SNAPSHOTS: Final = Counter("tidegate_budgets_snapshots_total", "Snapshots sent to gateways")
BUDGETS_ALERTS: Final = Counter("tidegate_budgets_alerts_total", "Alert records sent", ["kind", "status"])
BUDGETS_LAG: Final = Gauge(
    "tidegate_budgets_lag_records", "End of the partition less our position", ["partition"]
)
BUDGETS_WATERMARK_AGE: Final = Gauge(
    "tidegate_budgets_watermark_age_seconds", "Wall time less the time up to which all spend is counted"
)

# --- throttles --------------------------------------------------------------------------------------------

THROTTLES_COMMANDS: Final = Counter(
    "tidegate_throttles_commands_total", "Throttle commands sent", ["action", "mode"]
)
THROTTLES_CHANGES: Final = Counter(
    "tidegate_throttles_changes_total", "What became of scopes that a rule would throttle", ["change", "mode"]
)
THROTTLES_BARRED: Final = Counter(
    "tidegate_throttles_barred_total", "Scopes that were not throttled though a rule wants it", ["why"]
)
"""why: protected, limit, refused, lapsed."""
THROTTLES_ACTIVE: Final = Gauge("tidegate_throttles_active", "Scopes with a command in force", ["mode"])
THROTTLES_INCIDENTS: Final = Gauge("tidegate_throttles_incidents", "Incidents that are not over")
THROTTLES_ALERTS: Final = Counter(
    "tidegate_throttles_alerts_total", "Alert records about throttles themselves", ["detector", "status"]
)
THROTTLES_REFUSED: Final = Counter(
    "tidegate_throttles_refused_total", "Records that could not be read, and were passed over", ["reason"]
)
THROTTLES_TRANSACTIONS: Final = Counter(
    "tidegate_throttles_transactions_total", "Transactions, by how they ended", ["result"]
)
"""result: committed, aborted, fenced."""

# --- outcomes ---------------------------------------------------------------------------------------------

OUTCOMES_READ: Final = Counter("tidegate_outcomes_read_total", "Outcomes read and committed", ["result"])
"""result: counted, duplicate."""
OUTCOMES_REFUSED: Final = Counter(
    "tidegate_outcomes_refused_total",
    "Records that could not be counted; outcomes become dead letters",
    ["reason"],
)
OUTCOMES_ROLLUPS: Final = Counter("tidegate_outcomes_rollups_total", "Rollups of outcomes written")
OUTCOMES_TRACES: Final = Gauge("tidegate_outcomes_traces", "Traces that are kept")
OUTCOMES_FORGOTTEN: Final = Counter(
    "tidegate_outcomes_forgotten_total",
    "Traces that are no longer kept: what comes of them later is lost",
    ["why"],
)
"""why: expired, no_room."""
OUTCOMES_TRANSACTIONS: Final = Counter(
    "tidegate_outcomes_transactions_total", "Transactions, by how they ended", ["result"]
)
"""result: committed, aborted, fenced."""
OUTCOMES_LAG: Final = Gauge(
    "tidegate_outcomes_lag_records", "End of the partition less our position", ["topic", "partition"]
)
OUTCOMES_TIME_AGE: Final = Gauge(
    "tidegate_outcomes_time_age_seconds", "Wall time less the time up to which both topics are read"
)

# --- door -------------------------------------------------------------------------------------------------

DOOR_REQUESTS: Final = Counter("tidegate_door_requests_total", "Requests answered", ["status"])
DOOR_EVENTS: Final = Counter(
    "tidegate_door_events_total", "Events that the broker acknowledged, by the token's name", ["token"]
)
DOOR_REFUSED: Final = Counter("tidegate_door_refused_total", "Events refused at the door", ["reason"])
DOOR_BYTES: Final = Counter("tidegate_door_bytes_total", "Bytes of bodies read, unpacked")
DOOR_SECONDS: Final = Histogram(
    "tidegate_door_request_seconds", "From the head of a request to its answer", buckets=_FAST
)
DOOR_ACK_SECONDS: Final = Histogram(
    "tidegate_door_ack_seconds", "From a batch that is judged to its last acknowledgement", buckets=_FAST
)
DOOR_NOT_ACKNOWLEDGED: Final = Counter(
    "tidegate_door_not_acknowledged_total", "Batches that the broker did not acknowledge in time: 503"
)
DOOR_IN_FLIGHT: Final = Gauge("tidegate_door_in_flight_bytes", "Bytes of requests that are not answered yet")
DOOR_CONNECTIONS_REFUSED: Final = Counter(
    "tidegate_door_connections_refused_total", "Connections over the limit"
)

# --- decisions --------------------------------------------------------------------------------------------

DECISIONS_REQUESTS: Final = Counter("tidegate_decisions_requests_total", "Requests answered", ["status"])
DECISIONS_SECONDS: Final = Histogram(
    "tidegate_decisions_request_seconds",
    "From the head of a request to its answer; not of those that may wait for a change",
    buckets=_FAST,
)
DECISIONS_CALLS: Final = Counter(
    "tidegate_decisions_calls_total", "Calls decided about, by the token's name", ["token", "action"]
)
"""action: allow, delay, downgrade, cap, reject."""
DECISIONS_REPEATED: Final = Counter(
    "tidegate_decisions_repeated_total", "Questions that came again, and were answered as before", ["token"]
)
DECISIONS_SETTLED: Final = Counter(
    "tidegate_decisions_settled_total", "Settlements by what became of them", ["result"]
)
"""result: counted, unknown. Growth of unknown: a client settles twice, or with another process than it asked."""
DECISIONS_TICKETS: Final = Gauge(
    "tidegate_decisions_tickets", "Calls that budgets count and nobody has settled yet"
)
DECISIONS_FORGOTTEN: Final = Counter(
    "tidegate_decisions_tickets_forgotten_total", "Tickets forgotten because max_tickets were out"
)
DECISIONS_WAITING: Final = Gauge(
    "tidegate_decisions_waiting", "Requests that wait for a change of the snapshot"
)
DECISIONS_STALE: Final = Gauge(
    "tidegate_decisions_stale", "1 while the broker has not been heard of for stale_after_s"
)
DECISIONS_FEED: Final = Gauge(
    "tidegate_decisions_feed_records", "What the feed has seen since the start", ["what"]
)
"""what: commands, snapshots, refused, failures."""
DECISIONS_IN_FLIGHT: Final = Gauge(
    "tidegate_decisions_in_flight_bytes", "Bytes of requests that are not answered yet"
)
DECISIONS_CONNECTIONS_REFUSED: Final = Counter(
    "tidegate_decisions_connections_refused_total", "Connections over the limit"
)

# --- callbacks --------------------------------------------------------------------------------------------

CALLBACKS_REQUESTS: Final = Counter("tidegate_callbacks_requests_total", "Requests answered", ["status"])
CALLBACKS_SECONDS: Final = Histogram(
    "tidegate_callbacks_request_seconds", "From a request's head to its answer", buckets=_SLOW
)
CALLBACKS_ANSWERS: Final = Counter(
    "tidegate_callbacks_answers_total",
    "What people answered, by what became of it",
    ["vendor", "act", "result"],
)
"""act: a button's, or acknowledged and withdrawn at PagerDuty; result: written, failed."""
CALLBACKS_REFUSED: Final = Counter(
    "tidegate_callbacks_refused_total", "Requests and presses of which nothing came", ["vendor", "reason"]
)
"""reason: signature, unreadable, repeated, not_allowed."""
CALLBACKS_REPLIES: Final = Counter(
    "tidegate_callbacks_replies_total", "Words to who pressed a button", ["result"]
)
"""result: told, failed, elsewhere."""
CALLBACKS_IN_FLIGHT: Final = Gauge(
    "tidegate_callbacks_in_flight_bytes", "Bytes of requests that are not answered yet"
)
CALLBACKS_CONNECTIONS_REFUSED: Final = Counter(
    "tidegate_callbacks_connections_refused_total", "Connections over the limit"
)


def set_config_version(role: str, version: str, offset: int, previous: str | None) -> None:
    """Say which config version is in force, and that the previous one is not."""
    if previous is not None and previous != version:
        CONFIG_INFO.remove(role, previous)
    CONFIG_INFO.labels(role, version).set(1)
    CONFIG_OFFSET.labels(role).set(offset)
