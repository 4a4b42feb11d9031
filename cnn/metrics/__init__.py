"""What predictions are measured by, beside means: calibration, and the spread over repetitions."""
