"""Closed-loop writes against raftcache and etcd: what `scripts/bench/durable` and `scripts/bench/log` share.

`scripts/bench/reads` shares the clusters and the rounds; its load is `read_load`.

The script starts one system at a time on fresh files (`raftcache_cluster`, `etcd_cluster`), lets a generator of its
own process write to it (`raftcache_load`, `etcd_load`), stops it, and goes on to the next one (`rounds`). So nothing
that idles takes processor time from what is measured, and slow and fast moments of the machine meet all systems alike.
"""
