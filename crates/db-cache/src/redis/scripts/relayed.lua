-- ARGV: birth, up to when the relay has caught up in milliseconds: by this server's clock, or by one that it has replaced.
if tonumber(ARGV[2]) <= now then
  relayed = struct.pack('>I8', tonumber(ARGV[2]))
  save_head()
end
