"""Telephony operators: one module each, all speaking `CallEvent`."""
