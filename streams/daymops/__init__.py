"""DayMOPS: unknown moving objects are linked from the detections of many nights, fitted, named and kept."""
