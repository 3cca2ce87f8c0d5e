"""Slack incoming webhooks. Source: docs.slack.dev, "Sending messages using incoming webhooks", "Blocks"."""
