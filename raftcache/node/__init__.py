"""The composition root: config, clock, network and files become a running node."""
