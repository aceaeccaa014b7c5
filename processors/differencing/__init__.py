"""Image Differencing: subtract a template from a calibrated visit image, find and measure what changed."""
