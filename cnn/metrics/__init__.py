"""What predictions are measured by, beside means: confusion, calibration, spread over runs."""
