"""What people answer in Slack and PagerDuty, over HTTP: from a signed request to a record.

`signatures`, `slack` and `pagerduty` are pure; `records` is on Kafka; `post` answers. `hearsay` puts
into effect what others write to the topic of feedback.
"""
