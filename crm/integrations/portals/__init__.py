"""Feeds of real-estate portals: one canonical `Offer`, one module a file format."""
