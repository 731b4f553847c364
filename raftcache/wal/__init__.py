"""What a group keeps over a restart: its log, its term and vote, its snapshots. `api` is the contract."""
