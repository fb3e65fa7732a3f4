-- An exact sliding log: the time of every event of the last `span` milliseconds, in two bytes each as a rule.
--
-- A log is one string: a header (time of the oldest event, time of the newest one, number of events, where the
-- distance from the oldest event to the next one is, where the distances end, length of the string), then the distance
-- of each event from the one before it in milliseconds, two bytes, little-endian; 65535 stands before a distance of four
-- bytes. Times are in milliseconds since 1970 by the clock of Redis. Behind the distances there is room for more: Redis
-- would double a string that it has to lengthen. When the room is used up, the string is made anew, without the bytes of
-- events that are over, so adding an event and forgetting one cost O(1), spread over all events.
--
-- A script reads a log, decides, and only then adds to it: a script that refuses writes nothing but what time has
-- taken from the log anyway.

local LOG_HEADER = 32
local LOG_FORMAT = '<ddI4I4I4I4'
-- Bytes read at a time while events that are over are skipped; most often there are none or few.
local LOG_CHUNK = 512
-- The least room in bytes; more than that, it is a quarter of what is there.
local LOG_ROOM = 16
-- A string is made anew when half of it and so many bytes more are of events that are over.
local LOG_WASTE = 512

-- The distance at `offset` of the log, and where the next one is. `chunk` caches what was read.
local function log_distance(log, offset)
  local chunk = log.chunk
  if not chunk or offset < log.chunk_at or offset + 6 > log.chunk_at + #chunk then
    chunk = redis.call('GETRANGE', log.key, offset, offset + LOG_CHUNK - 1)
    log.chunk, log.chunk_at = chunk, offset
  end
  local at = offset - log.chunk_at + 1
  local low, high = string.byte(chunk, at, at + 1)
  local distance = low + 256 * high
  if distance < 65535 then
    return distance, offset + 2
  end
  return struct.unpack('<I4', chunk, at + 2), offset + 6
end

-- The log of the events since `time - span`. `log.count` is how many there are.
local function log_read(key, time, span)
  local log = {
    key = key, span = span, time = time,
    first = time, last = time, count = 0, offset = LOG_HEADER, ends = LOG_HEADER, length = 0,
  }
  local header = redis.call('GETRANGE', key, 0, LOG_HEADER - 1)
  if #header < LOG_HEADER then
    return log
  end
  log.first, log.last, log.count, log.offset, log.ends, log.length = struct.unpack(LOG_FORMAT, header)
  -- A clock that was set back would put events before those that are there.
  log.time = math.max(time, log.last)
  local over = log.time - span
  while log.count > 0 and log.first <= over do
    log.count = log.count - 1
    if log.count > 0 then
      local distance
      distance, log.offset = log_distance(log, log.offset)
      log.first = log.first + distance
    end
  end
  return log
end

-- When the event is over that is the `n`th oldest of the log (1 is the oldest), which has at least as many.
local function log_frees(log, n)
  local time, offset, distance = log.first, log.offset, nil
  for _ = 2, n do
    distance, offset = log_distance(log, offset)
    time = time + distance
  end
  return time + log.span
end

-- The same over several logs of one span, which together have at least `n` events.
local function log_frees_of_all(logs, n)
  local heads = {}
  for i, log in ipairs(logs) do
    heads[i] = {log = log, time = log.first, left = log.count, offset = log.offset}
  end
  local time = 0
  for _ = 1, n do
    local oldest
    for _, head in ipairs(heads) do
      if head.left > 0 and (not oldest or head.time < oldest.time) then
        oldest = head
      end
    end
    time, oldest.left = oldest.time, oldest.left - 1
    if oldest.left > 0 then
      local distance
      distance, oldest.offset = log_distance(oldest.log, oldest.offset)
      oldest.time = oldest.time + distance
    end
  end
  return time + logs[1].span
end

local function log_header(log)
  return struct.pack(LOG_FORMAT, log.first, log.last, log.count, log.offset, log.ends, log.length)
end

-- Adds `n` events that happen now.
local function log_add(log, n)
  local distances = ''
  if log.count > 0 then
    local distance = log.time - log.last
    if distance < 65535 then
      distances = struct.pack('<I2', distance)
    else
      distances = struct.pack('<I2I4', 65535, distance)
    end
  else
    log.first = log.time
  end
  distances = distances .. string.rep('\0\0', n - 1)
  local before = log.count
  log.last, log.count, log.chunk = log.time, log.count + n, nil
  local fits = log.ends + #distances <= log.length
  if before > 0 and fits and log.offset <= LOG_WASTE + log.length / 2 then
    if #distances > 0 then
      redis.call('SETRANGE', log.key, log.ends, distances)
    end
    log.ends = log.ends + #distances
    redis.call('SETRANGE', log.key, 0, log_header(log))
  else
    if before > 0 then
      distances = redis.call('GETRANGE', log.key, log.offset, log.ends - 1) .. distances
    end
    local room = math.max(LOG_ROOM, math.floor(#distances / 4))
    log.offset, log.ends = LOG_HEADER, LOG_HEADER + #distances
    log.length = log.ends + room
    redis.call('SET', log.key, log_header(log) .. distances .. string.rep('\0', room))
  end
  redis.call('PEXPIRE', log.key, string.format('%.0f', log.span))
end

-- Takes the newest event out again if it happened at `time`. One from the middle cannot be taken out without reading
-- everything after it: it stays until it is over, and the log then counts one too many, never one too few.
local function log_take_back(log, time)
  if log.count == 0 or log.last ~= time then
    return
  end
  log.count, log.chunk = log.count - 1, nil
  if log.count == 0 then
    redis.call('DEL', log.key)
    return
  end
  -- The last distance has four bytes if the third last pair of bytes is a mark and not the lower half of such a
  -- distance, which it is only if a mark precedes it: the upper half never has the value of a mark.
  local tail = redis.call('GETRANGE', log.key, math.max(LOG_HEADER, log.ends - 8), log.ends - 1)
  local function marked(pair)
    local at = #tail - 2 * pair + 1
    return at >= 1 and string.sub(tail, at, at + 1) == '\255\255'
  end
  local size, distance = 2, nil
  if marked(3) and not marked(4) then
    size, distance = 6, struct.unpack('<I4', tail, #tail - 3)
  else
    distance = struct.unpack('<I2', tail, #tail - 1)
  end
  log.last, log.ends = log.last - distance, log.ends - size
  redis.call('SETRANGE', log.key, 0, log_header(log))
end
