-- A value and how long it lives. KEYS: value. Answers {value, ms}: -1 for ever, -2 (and no value) when there is none.
local value = redis.pcall('GET', KEYS[1])
return {type(value) == 'string' and value, redis.call('PTTL', KEYS[1])}
