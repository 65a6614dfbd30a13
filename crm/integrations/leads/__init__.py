"""Requests from sites and services: one module a channel, one type (`LeadSubmission`) for all."""
