"""The same sum as others do it: cost per workflow and 10 s, written as each one's guide says.

They run in an environment of their own (`requirements.lock`), as processes of their own; the service imports none
of it. They take a cost as it is given: they neither validate nor price nor drop duplicates, and skip what they
cannot read.
"""
