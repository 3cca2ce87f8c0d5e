"""Any HTTP endpoint that wants the Alert record itself, signed."""
