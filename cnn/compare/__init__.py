"""Several models under one budget and several seeds: trained, measured, compared.

`settings` reads the config's section, `budget` turns it into trainings, `measure` looks at what
came out, `analysis` makes tables of it with `statistics`; `cnn.report.comparison` shows them.
"""
