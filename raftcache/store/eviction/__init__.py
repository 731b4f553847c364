"""Which key goes when a namespace has too much: eviction orders and admission, pure and without a clock.

| module | what | how exact | bytes a key* |
|---|---|---|--:|
| `evictor` | the door: reads, writes, removals, victims; exact charges | exact | 20 |
| `recency` | `lru`, `lrm`, with the time of the last use in seconds | exact | 12 |
| `frequency` | `lfu` with decay | the order is exact, its counters are estimates (Morris) | 12 |
| `nearest` | `ttl` | exact | 24 |
| `chance` | `random` | exact | 8 |
| `s3fifo`, `ghost` | `s3fifo` | exact but for 32-bit fingerprints of ghosts, and a bound on steps | 9, and 16 a ghost |
| `tinylfu`, `sketch` | admission `tinylfu` in front of any of them | approximate (count-min sketch) | 16 |
| `digest` | what followers are told of reads | a sample where more is read than fits | |
| `table`, `growing`, `lists`, `order` | slots for keys, a hash index, linked lists, what an order is | | |

* Beside the key itself, of which only the address is kept. Nothing else is an object: all stands in flat arrays by a
key's slot. Arrays have up to an eighth in reserve.

Every call does bounded work, also when a table grows: nothing here is ever copied or walked as a whole, but for what
the allocator does to lengthen an array.
"""
