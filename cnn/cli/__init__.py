"""The commands: one file each, flags turned into one call. Heavy imports wait for the call."""
