-- Ends a fence. KEYS: fence. ARGV: nonce.
local standing = redis.pcall('GET', KEYS[1])
if type(standing) == 'string' and string.sub(standing, 2) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
