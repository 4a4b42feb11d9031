"""What a training needs and takes on chips that nobody here has: memory, time, money.

Everything comes from shapes: no data set is opened and nothing is computed.
"""
