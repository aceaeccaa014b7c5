"""Nightcast: processors."""
