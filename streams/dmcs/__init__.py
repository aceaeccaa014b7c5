"""The Data Management Control System: plans the jobs of every visit, follows them, and alone closes the visit."""
