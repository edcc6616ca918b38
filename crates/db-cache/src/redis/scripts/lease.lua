-- KEYS[1] is the lease. ARGV: holder, for how long in milliseconds. -1 where it is taken, else how long it is held.
local holder = redis.call('GET', KEYS[1])
local left = redis.call('PTTL', KEYS[1])
if holder and holder ~= ARGV[1] and left >= 0 then return left end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return -1
