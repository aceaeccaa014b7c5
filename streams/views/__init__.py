"""The view: tables for people, folded from the topics and made again from them at any time."""
