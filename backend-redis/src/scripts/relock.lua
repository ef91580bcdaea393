-- Renews a lock. KEYS: lock. ARGV: token, lease in ms. Answers 1 when it was held.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
