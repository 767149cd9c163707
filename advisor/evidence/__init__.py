"""Measured runs on many datasets: what every strategy and freeze depth can be expected to score on the data at hand."""
