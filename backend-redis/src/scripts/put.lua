-- Stores a value whatever was there, and defeats every load announced before.
-- KEYS: value, fence. ARGV: bytes, life in ms ('' for ever).
if ARGV[2] == '' then
  redis.call('SET', KEYS[1], ARGV[1])
else
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
redis.call('DEL', KEYS[2])
return 1
