"""Every known hazard of the Raft engine that we use, shown on the stock engine and held on ours.

`PYSYNCOBJ` is shorthand for version 0.3.17 of that library, whose line numbers the essays quote. A scenario is
a script against a `Laboratory`; `stock.StockLab` runs it on the engine as it comes and shows what breaks,
`guarded.GuardedLab` runs it on `raftcache.consensus` and shows that it does not.
"""
