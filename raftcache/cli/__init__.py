"""The command `raftcache`: one module a group of commands."""
