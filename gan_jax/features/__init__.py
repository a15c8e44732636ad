"""Feature extractors: what turns images into the rows of numbers that distances of distributions are taken of."""
