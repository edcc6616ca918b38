-- ARGV: birth, writer, then slots.
local changes = {}
for i = 3, #ARGV do
  local record = get(ARGV[i])
  if record and record.doubts[ARGV[2]] then
    record.doubts[ARGV[2]] = nil
    changes[#changes + 1] = { ARGV[i], record }
  end
end
tell(changes)
return pack_id(tail)
