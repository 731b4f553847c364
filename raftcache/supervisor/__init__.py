"""A local cluster under one roof: what `raftcache up` runs."""
