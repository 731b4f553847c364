"""Commands, their replies, and the one table that every interface serves them from."""
