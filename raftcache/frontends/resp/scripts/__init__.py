"""Scripts in Lua: their sandbox, and what `redis.call` makes of the commands in them."""
