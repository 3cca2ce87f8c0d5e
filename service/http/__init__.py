"""What roles with an HTTP port share: bearer tokens, bounded bodies, problem details, connections and their end.

`keyring` and `problem` are pure; `body` and `intake` read requests; `server` is the edge.
"""
