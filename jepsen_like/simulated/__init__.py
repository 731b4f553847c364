"""The harness over the deterministic simulation: faults, single runs, sweeps over many seeds, and shrinking."""
