-- Ends a write's guard, and forgets the key. KEYS: value, fence, guards. ARGV: the guard's nonce.
redis.call('UNLINK', KEYS[1], KEYS[2])
redis.call('ZREM', KEYS[3], ARGV[1])
return 1
