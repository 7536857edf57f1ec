"""A bounded load test of a server on loopback."""
