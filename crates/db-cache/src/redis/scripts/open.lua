-- ARGV: birth, the epoch's generation if there is none yet, run, then slots with generations.
if not has_epoch() then set_epoch(ARGV[2], ARGV[3], nil) end
local changes = {}
for i = 4, #ARGV, 2 do
  local slot, generation = ARGV[i], ARGV[i + 1]
  local record = get(slot)
  if not record then
    changes[#changes + 1] = { slot, new_record(generation) }
  else
    local is_over = false
    for writer, ends in pairs(record.doubts) do
      if ends <= now then
        record.doubts[writer] = nil
        is_over = true
      end
    end
    if is_over then
      -- Whether that transaction committed nobody knows, nor where.
      record.generation, record.floor = generation, nil
      changes[#changes + 1] = { slot, record }
    end
  end
end
tell(changes)
