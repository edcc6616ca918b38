-- ARGV: birth. The head, as it is now.
return pack_id(tail) .. relayed .. epoch
