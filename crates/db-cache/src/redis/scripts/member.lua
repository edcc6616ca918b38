-- KEYS[1] is the hash of the records: members are lost only with the epoch. ARGV: member, what it has applied, for how
-- long in milliseconds.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local known = redis.call('HGET', KEYS[1], 'm') or ''
local members = {}
for at = 1, #known, 32 do
  local is_over = struct.unpack('>I8', known, at + 24) <= now
  if not is_over and string.sub(known, at, at + 7) ~= ARGV[1] then
    members[#members + 1] = string.sub(known, at, at + 31)
  end
end
members[#members + 1] = ARGV[1] .. ARGV[2] .. struct.pack('>I8', now + tonumber(ARGV[3]))
redis.call('HSET', KEYS[1], 'm', table.concat(members))
