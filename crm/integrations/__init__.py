"""Translators between the outside world and our normalized types: no database, no Flask."""
