-- ARGV: birth, the moment in milliseconds before which everything that was committed has been bumped, the run whose clock
-- told it.
local epoch = redis.call('HGET', records, 'e')
if epoch and string.sub(epoch, 25, 32) == ARGV[3] then
  redis.call('HSET', records, 'r', struct.pack('>I8', tonumber(ARGV[2])))
end
