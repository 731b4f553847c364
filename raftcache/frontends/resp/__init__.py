"""The Redis protocol (RESP): the router port, which looks like one standalone server. All but `server` is pure."""
