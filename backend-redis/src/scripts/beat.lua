-- A heartbeat: writes a key that only this client's listener is told of, and continues the chain that the last beats hold.
-- A chain is named by the execution that begins it, when none of the keys is there: the server was flushed, or has
-- forgotten writes. Prevents: a beat that arrives twice, the second time after a flush, and hides it.
-- KEYS: this beat, and those of which one must be there. ARGV: life in ms. Answers the chain.
local chain = false
for index = 1, #KEYS do
  chain = chain or redis.call('GET', KEYS[index])
  -- this beat's too: a full server refuses what may take memory, unless the script has deleted something before
  redis.call('DEL', KEYS[index])
end
if not chain then
  local time = redis.call('TIME')
  chain = time[1] .. '.' .. time[2]
end
redis.call('SET', KEYS[1], chain, 'PX', ARGV[1])
return chain
