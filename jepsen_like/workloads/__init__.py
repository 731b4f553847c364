"""Workloads: what clients ask of a cluster while it is broken, each a small file that plugs in. All pure."""
