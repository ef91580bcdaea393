-- A heartbeat: writes a key that nobody else does, so that it is pushed to whoever listens; and says whether the last one
-- is still there. KEYS: this beat, and those of which one must be there. ARGV: life in ms. Answers how many there were.
local known = 0
for index = 2, #KEYS do
  known = known + redis.call('DEL', KEYS[index])
end
redis.call('SET', KEYS[1], '1', 'PX', ARGV[1])
return known
