"""Replay: record what a night was made of, run it again in a system of its own, compare the two byte for byte."""
