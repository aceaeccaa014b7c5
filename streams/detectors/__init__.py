"""Detector workers: one job calibrates and differences one CCD of one visit, or measures one wavefront sensor."""
