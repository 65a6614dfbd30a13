"""RQ entry points and the schedule: thin, ids as arguments, idempotent."""
