-- ARGV: birth, the primary's position, then slots with the generations that the load took.
local primary = ARGV[2]
for i = 3, #ARGV, 2 do
  local record = get(ARGV[i])
  if record and record.generation == ARGV[i + 1] and not next(record.doubts) then
    -- A floor from before the last epoch was void: this one is the first that counts.
    if has_epoch() and is_before(record.changed, unpack_id(epoch, 9)) then record.floor = nil end
    if not record.floor or follows(primary, record.floor) then record.floor = primary end
    if is_before(record.changed, tail) then record.changed = tail end
    set(ARGV[i], record)
  end
end
