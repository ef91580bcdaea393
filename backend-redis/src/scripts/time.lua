-- The time of the node that has a key, in microseconds. KEYS: any.
local time = redis.call('TIME')
return time[1] * 1000000 + time[2]
