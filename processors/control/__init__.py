"""Rules of control, pure: what the DMCS, the Orchestration Manager and the archiver decide, as folds of their events."""
