"""What predictions are measured by, beside means: classes of pixels, calibration, the spread over repetitions."""
