-- Stores a value whatever was there, and defeats every load announced before. While a write is under way it only forgets.
-- KEYS: value, fence, guards. ARGV: bytes, life in ms ('' for ever).
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if redis.call('ZCOUNT', KEYS[3], '(' .. now, '+inf') > 0 then
  redis.call('UNLINK', KEYS[1], KEYS[2])
  return 0
end
if ARGV[2] == '' then
  redis.call('SET', KEYS[1], ARGV[1])
else
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
redis.call('DEL', KEYS[2])
return 1
