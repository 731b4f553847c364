"""What a replica keeps, as pure data structures: entries, keys, expiries, effects, memory."""
