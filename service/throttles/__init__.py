"""From alerts to throttle commands: who is limited, how far, for how long, and whether gateways obey.

`desk`, `incidents`, `unanswered` and `notice` are pure; `office`, `vault` and `app` are the thin edge.
"""
