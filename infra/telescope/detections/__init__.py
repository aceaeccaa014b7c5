"""A survey at catalogue level: detections of asteroids and of nothing, fast, with a truth that is propagated by others."""
