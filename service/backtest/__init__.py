"""What another configuration would have said: history judged by several configurations, and the difference.

Pure but for `spread` (processes) and `history` (files); what reads the broker is in `service.kafka.past`.
"""
