"""The stage for gateways in other languages: `gateway.Gate` over HTTP. docs/decisions.md.

`question` and `tickets` are pure; `watched` and `board` say which limits are in force; `desk` answers requests;
`openapi` describes it all.
"""
