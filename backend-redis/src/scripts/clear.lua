-- Begins another ledger: whatever was stored or announced before belongs to none. KEYS: head, tags. ARGV: its identity.
redis.call('SET', KEYS[1], ARGV[1] .. ':0')
redis.call('DEL', KEYS[2])
return 1
