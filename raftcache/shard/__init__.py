"""The replicated state machine behind a slice of the keyspace: a pure executor and a thin shell around it."""
