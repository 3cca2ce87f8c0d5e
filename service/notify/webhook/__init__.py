"""Any HTTP endpoint that wants the Alert records themselves, signed."""
