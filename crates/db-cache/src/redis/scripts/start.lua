-- ARGV: birth. Where the feed ends, and the epoch.
return { pack_id(tail), redis.call('HGET', records, 'e') }
