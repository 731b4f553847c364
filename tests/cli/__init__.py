"""Tests of the command line, the supervisor and the configuration."""
