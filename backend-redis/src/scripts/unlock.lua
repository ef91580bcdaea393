-- Gives a lock back and tells who waits. KEYS: lock. ARGV: token, channel. Answers 1 when it was held.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('DEL', KEYS[1])
redis.call('PUBLISH', ARGV[2], '')
return 1
