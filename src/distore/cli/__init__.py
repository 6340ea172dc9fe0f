"""The dist command line: the only place that reads argv, environment and terminal."""
