"""Science Data Quality Metrics: thresholds, verdicts and visit summaries."""
