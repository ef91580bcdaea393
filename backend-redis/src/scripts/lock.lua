-- Takes a lock. KEYS: lock. ARGV: token, lease in ms. Answers 0 when taken, else the ms left to its holder.
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) or redis.call('GET', KEYS[1]) == ARGV[1] then
  return 0
end
return math.max(redis.call('PTTL', KEYS[1]), 1)
