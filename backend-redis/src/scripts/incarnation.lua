-- Which life of which server has a key: changes with a restart and with a promotion. KEYS: any.
local server, replication = redis.call('INFO', 'server'), redis.call('INFO', 'replication')
return string.match(server, 'run_id:(%w+)') .. string.match(replication, 'master_replid:(%w+)')
