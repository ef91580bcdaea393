-- Lets a fence stand longer. KEYS: fence. ARGV: nonce, lease in ms. Answers 1 when it still stood.
local standing = redis.pcall('GET', KEYS[1])
if type(standing) ~= 'string' or string.sub(standing, 2) ~= ARGV[1] then
  return 0
end
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 1
