"""Nightcast: infra."""
