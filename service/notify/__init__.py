"""The stage that tells people: alerts in, messages to receivers out. README.md says what it promises."""
