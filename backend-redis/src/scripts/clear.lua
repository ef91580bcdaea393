-- Begins another ledger: all that was stored or announced before belongs to none. Its identity is of this execution: a command
-- that arrives twice begins two ledgers, and never goes back to the first with its tags forgotten.
-- KEYS: head, tags. ARGV: a number of the client's to make the identity of.
local time = redis.call('TIME')
local id = string.sub(redis.sha1hex(ARGV[1] .. time[1] .. '.' .. time[2]), 1, 16)
-- a full server refuses what may take memory, unless the script has deleted something before
redis.call('DEL', KEYS[2])
redis.call('SET', KEYS[1], id .. ':0')
return 1
