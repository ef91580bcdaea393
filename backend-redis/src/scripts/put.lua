-- Stores a value whatever was there, and defeats every load announced before. While a write is under way, or if the server
-- takes no more (`maxmemory`, `noeviction`), it only forgets. Prevents: an insert that leaves the old value and fails.
-- KEYS: value, fence, guards. ARGV: bytes, life in ms ('' for ever).
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if redis.call('ZCOUNT', KEYS[3], '(' .. now, '+inf') > 0 then
  redis.call('UNLINK', KEYS[1], KEYS[2])
  return 0
end
local set
if ARGV[2] == '' then
  set = redis.pcall('SET', KEYS[1], ARGV[1])
else
  set = redis.pcall('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
if set.err then
  redis.call('UNLINK', KEYS[1], KEYS[2])
  if string.find(set.err, 'OOM', 1, true) then
    return 0
  end
  return set
end
redis.call('DEL', KEYS[2])
return 1
