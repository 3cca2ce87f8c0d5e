"""PagerDuty Events API v2. Source: developer.pagerduty.com, "Send an Alert Event", "Send a Change Event"."""
