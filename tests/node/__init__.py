"""A whole node, on the simulated cluster: which replicas it opens, what it tells others, and what it says of itself."""
