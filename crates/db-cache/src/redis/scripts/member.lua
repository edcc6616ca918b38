-- KEYS[1] is the hash of the members. ARGV: member, what it has applied, for how long in milliseconds.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local keep = tonumber(ARGV[3])
local known = redis.call('HGETALL', KEYS[1])
for i = 1, #known, 2 do
  if struct.unpack('>I8', known[i + 1], 17) <= now then redis.call('HDEL', KEYS[1], known[i]) end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. struct.pack('>I8', now + keep))
if redis.call('PTTL', KEYS[1]) < keep then redis.call('PEXPIRE', KEYS[1], keep) end
