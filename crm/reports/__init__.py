"""Read-only SQL for boards, lists and counters: aggregates in SQL, never in Python loops."""
