"""What can be broken on purpose: real processes, and the simulation."""
