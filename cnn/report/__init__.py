"""What a run leaves behind: the metric log, the progress on the screen, the HTML report.

Nothing here imports JAX, so a report can be made again on any machine.
"""
