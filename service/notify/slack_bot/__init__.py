"""Slack's Web API with a bot token. Source: docs.slack.dev, "chat.postMessage", "chat.update", "Rate limits"."""
