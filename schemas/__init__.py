"""Nightcast: schemas."""
