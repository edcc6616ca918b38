-- What every script on the records begins with.
--
-- KEYS[1] is the hash of the records: a slot's number, 'h' the head, 'm' the members. KEYS[2] is the feed. ARGV[1] is a
-- random number for the feed's first entry, so that no two feeds have the same one. Generations, runs, writers and histories
-- are opaque bytes; identifiers stay below 2^53, which Lua can count.
--
-- The head is one field, so that a read asks for one: where the feed ends, up to when the relay has caught up, the epoch.
-- What is not there is zeros. Its length stays above 64 bytes: a hash that holds a longer value finds a field without looking
-- at all of them.
local records, feed = KEYS[1], KEYS[2]
local FEED_LIMIT, ENTRY_LIMIT = 8192, 64
local NOTHING, NO_HISTORY = string.rep('\0', 8), string.rep('\0', 12)

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local known = redis.call('HGET', records, 'h')
local relayed = known and string.sub(known, 17, 24) or NOTHING
local epoch = known and string.sub(known, 25) or string.rep('\0', 45)
local tail

local function unpack_id(bytes, at)
  local ms, seq = struct.unpack('>I8I8', bytes, at)
  return { ms, seq }
end

local function pack_id(id)
  return struct.pack('>I8I8', id[1], id[2])
end

local function is_before(one, other)
  return one[1] < other[1] or (one[1] == other[1] and one[2] < other[2])
end

local function has_epoch()
  return string.sub(epoch, 1, 8) ~= NOTHING
end

local function save_head()
  redis.call('HSET', records, 'h', pack_id(tail) .. relayed .. epoch)
end

local function append(id, field, value)
  local name = string.format('%.0f-%.0f', id[1], id[2])
  redis.call('XADD', feed, 'MAXLEN', '~', FEED_LIMIT, name, field, value)
  tail = id
  save_head()
end

-- Either key may have been evicted: identifiers grow all the same.
local function find_tail()
  tail = known and unpack_id(known, 1) or { 0, 0 }
  local last = redis.call('XREVRANGE', feed, '+', '-', 'COUNT', 1)[1]
  if not last then
    append({ math.max(now, tail[1] + 1), tonumber(ARGV[1]) }, 'b', '')
    return
  end
  local ms, seq = string.match(last[1], '(%d+)-(%d+)')
  local id = { tonumber(ms), tonumber(seq) }
  if is_before(tail, id) then tail = id end
  if not known then save_head() end
end

find_tail()

local function next_id()
  return now > tail[1] and { now, 0 } or { tail[1], tail[2] + 1 }
end

local function new_record(generation)
  return { generation = generation, changed = tail, floor = nil, doubts = {} }
end

local function get(slot)
  local bytes = redis.call('HGET', records, slot)
  if not bytes then return nil end
  local record = new_record(string.sub(bytes, 1, 8))
  record.changed = unpack_id(bytes, 9)
  local at = 26
  if string.byte(bytes, 25) == 1 then
    record.floor = string.sub(bytes, 26, 45)
    at = 46
  end
  while at <= #bytes do
    record.doubts[string.sub(bytes, at, at + 7)] = struct.unpack('>I8', bytes, at + 8)
    at = at + 16
  end
  return record
end

local function set(slot, record)
  local floor = record.floor and '\1' .. record.floor or '\0'
  local parts = { record.generation, pack_id(record.changed), floor }
  for writer, ends in pairs(record.doubts) do
    parts[#parts + 1] = writer .. struct.pack('>I8', ends)
  end
  redis.call('HSET', records, slot, table.concat(parts))
end

-- Keeps the records, and tells what holds for their slots now.
local function tell(changes)
  for first = 1, #changes, ENTRY_LIMIT do
    local id, told = next_id(), {}
    for i = first, math.min(first + ENTRY_LIMIT - 1, #changes) do
      local slot, record = changes[i][1], changes[i][2]
      record.changed = id
      set(slot, record)
      local generation = next(record.doubts) and NOTHING or record.generation
      told[#told + 1] = struct.pack('>I4', tonumber(slot)) .. generation
    end
    append(id, 's', table.concat(told))
  end
end

local function set_epoch(generation, run, history)
  local id = next_id()
  epoch = generation .. pack_id(id) .. run .. (history and '\1' .. history or '\0' .. NO_HISTORY)
  append(id, 'e', epoch)
end

-- A history is a system identifier of eight bytes and a timeline of four; a position has eight more.
local function timeline(history)
  return (struct.unpack('>I4', history, 9))
end

local function is_same_system(one, other)
  return string.sub(one, 1, 8) == string.sub(other, 1, 8)
end

local function follows(later, earlier)
  return is_same_system(later, earlier) and timeline(later) > timeline(earlier)
end

-- Two halves: a position may be too large for a number of Lua.
local function covers(one, other)
  local high, low = struct.unpack('>I4I4', one, 13)
  local other_high, other_low = struct.unpack('>I4I4', other, 13)
  return high > other_high or (high == other_high and low >= other_low)
end
