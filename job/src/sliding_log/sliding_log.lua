-- An exact sliding log: the time of every event of the last `span` milliseconds, in two bytes each as a rule.
--
-- A log is one string: a header (time of the oldest event, time of the newest one, number of events, where the
-- distance from the oldest event to the next one is), then the distance of each event from the one before it in
-- milliseconds, two bytes, little-endian; 65535 stands before a distance of four bytes. Times are in milliseconds since
-- 1970 by the clock of Redis. The bytes of events that are over stay until they are half of the string, so adding an
-- event and forgetting one cost O(1), spread over all events.
--
-- A script reads a log, decides, and only then adds to it: a script that refuses writes nothing but what time has
-- taken from the log anyway.

local LOG_HEADER = 24
local LOG_FORMAT = '<ddI4I4'
-- Bytes read at a time while events that are over are skipped; most often there are none or few.
local LOG_CHUNK = 512
-- A string is made anew when it begins with more bytes of events that are over than this, and than are left.
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
  local log = {key = key, span = span, count = 0, offset = LOG_HEADER, first = time, last = time, time = time}
  local header = redis.call('GETRANGE', key, 0, LOG_HEADER - 1)
  if #header < LOG_HEADER then
    return log
  end
  log.first, log.last, log.count, log.offset = struct.unpack(LOG_FORMAT, header)
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

-- Adds `n` events that happen now.
local function log_add(log, n)
  local distances = {}
  if log.count > 0 then
    local distance = log.time - log.last
    if distance < 65535 then
      distances[1] = struct.pack('<I2', distance)
    else
      distances[1] = struct.pack('<I2I4', 65535, distance)
    end
  else
    log.first, log.offset = log.time, LOG_HEADER
  end
  if n > 1 then
    distances[#distances + 1] = string.rep('\0\0', n - 1)
  end
  local added = table.concat(distances)
  local header = function(offset)
    return struct.pack(LOG_FORMAT, log.first, log.time, log.count + n, offset)
  end
  if log.count == 0 then
    redis.call('SET', log.key, header(LOG_HEADER) .. added)
  else
    local waste = log.offset - LOG_HEADER
    local length = redis.call('STRLEN', log.key)
    if waste > LOG_WASTE and 2 * waste > length then
      local live = redis.call('GETRANGE', log.key, log.offset, -1)
      log.offset = LOG_HEADER
      redis.call('SET', log.key, header(LOG_HEADER) .. live .. added)
    else
      redis.call('APPEND', log.key, added)
      redis.call('SETRANGE', log.key, 0, header(log.offset))
    end
  end
  redis.call('PEXPIRE', log.key, string.format('%.0f', log.span))
  log.count, log.last, log.chunk = log.count + n, log.time, nil
end
