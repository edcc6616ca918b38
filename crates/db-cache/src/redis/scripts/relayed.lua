-- ARGV: birth.
redis.call('HSET', records, 'r', struct.pack('>I8', now))
