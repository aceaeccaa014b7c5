"""Quality: folds jobs' metrics and manifests into quality of detectors and visits."""
