"""Fault proxies on loopback, which need no root: `toxics` and `flow` are pure, `forwarder` carries the bytes, `network`
is all the links of a cluster, `partitions` says which links a partition cuts."""
