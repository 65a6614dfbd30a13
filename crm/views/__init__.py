"""Thin: load, check access, act through an operation, answer."""
