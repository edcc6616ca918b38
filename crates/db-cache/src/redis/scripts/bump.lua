-- ARGV: birth, writer or '', the commit's position or '', then slots with generations.
local commit = #ARGV[3] > 0 and ARGV[3] or nil

local function raised(floor)
  if not floor or not commit or not is_same_system(floor, commit) then return nil end
  if timeline(floor) == timeline(commit) then return covers(floor, commit) and floor or commit end
  return follows(commit, floor) and commit or nil
end

local changes = {}
for i = 4, #ARGV, 2 do
  local slot, generation = ARGV[i], ARGV[i + 1]
  -- What was bumped before a record was lost may lie behind this commit: a new one has no floor.
  local record = get(slot) or new_record(generation)
  record.generation, record.floor = generation, raised(record.floor)
  if #ARGV[2] > 0 then record.doubts[ARGV[2]] = nil end
  changes[#changes + 1] = { slot, record }
end
tell(changes)
return pack_id(tail)
