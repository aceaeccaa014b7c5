"""Nightcast: streams."""
