-- ARGV: birth, writer, for how long in milliseconds, then slots with generations for those that are not there.
local ends, changes = now + tonumber(ARGV[3]), {}
for i = 4, #ARGV, 2 do
  local slot = ARGV[i]
  local record = get(slot) or new_record(ARGV[i + 1])
  record.doubts[ARGV[2]] = ends
  changes[#changes + 1] = { slot, record }
end
tell(changes)
return pack_id(tail)
