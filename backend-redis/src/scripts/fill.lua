-- Stores a value if its load's fence still stands and the server takes it, and ends the fence.
-- KEYS: value, fence. ARGV: nonce, bytes, life in ms ('' for ever). Answers 1 when stored.
local standing = redis.pcall('GET', KEYS[2])
if type(standing) ~= 'string' or string.sub(standing, 2) ~= ARGV[1] then
  return 0
end
local set
if ARGV[3] == '' then
  set = redis.pcall('SET', KEYS[1], ARGV[2])
else
  set = redis.pcall('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
redis.call('DEL', KEYS[2])
if set.err then
  return string.find(set.err, 'OOM', 1, true) and 0 or set
end
return 1
