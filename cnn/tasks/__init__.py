"""Tasks: one file a problem, each with a `make` that returns a `cnn.core.Task`."""
