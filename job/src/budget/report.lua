-- Takes in how requests ended, and opens or closes circuits. The same report counts once.
-- Answers {rest, upload}: 1 for a circuit that this report opened, -1 for one that it closed, else 0.
local report, app, endpoint = ARGV[3], ARGV[4], ARGV[5]
local succeeded, failed = tonumber(ARGV[6]), tonumber(ARGV[7])
-- Whether the last of them was a probe; for a 429 the wait that Flickr asked for in milliseconds, else -1; a random
-- number of thousandths by which the circuit stays open for longer.
local probe, asked, jitter = ARGV[8] == '1', tonumber(ARGV[9]), tonumber(ARGV[10])

local SLOTS = 6
local REPORT_KEPT = 30000
-- How long an open circuit is remembered after it was due, in milliseconds.
local FORGOTTEN = 3600000

if not redis.call('SET', PREFIX .. 'report:' .. report, 1, 'NX', 'PX', REPORT_KEPT) then
  return {0, 0}
end

local time = now()

local function open(circuit, least)
  local openings = math.min(tonumber(redis.call('HGET', circuit, 'openings') or '0') + 1, 32)
  local lasts = math.min(setting('opening') * 2 ^ (openings - 1), setting('longest'))
  lasts = math.max(math.floor(lasts * (1000 + jitter) / 1000), least)
  redis.call('DEL', circuit)
  redis.call('HSET', circuit, 'state', 'open', 'until', whole(time + lasts), 'openings', openings)
  redis.call('PEXPIRE', circuit, whole(lasts + FORGOTTEN))
  return 1
end

-- Counts the outcomes into the present slot; whether too many of those of the last window failed.
local function too_many_failed(circuit)
  local present = math.floor(time * SLOTS / setting('window'))
  local names = {}
  for n = 0, SLOTS - 1 do
    names[n + 1] = 's' .. n
  end
  local ok, bad = 0, 0
  local ok_now, bad_now = succeeded, failed
  for _, slot in ipairs(redis.call('HMGET', circuit, unpack(names))) do
    if slot then
      local number, well, badly = string.match(slot, '^(%d+) (%d+) (%d+)$')
      number, well, badly = tonumber(number), tonumber(well), tonumber(badly)
      if number == present then
        ok_now, bad_now = ok_now + well, bad_now + badly
      elseif number > present - SLOTS and number < present then
        ok, bad = ok + well, bad + badly
      end
    end
  end
  redis.call('HSET', circuit, 's' .. present % SLOTS, string.format('%.0f %d %d', present, ok_now, bad_now))
  redis.call('PEXPIRE', circuit, whole(2 * setting('window')))
  ok, bad = ok + ok_now, bad + bad_now
  return failed > 0 and ok + bad >= setting('requests') and 100 * bad >= setting('percent') * (ok + bad)
end

-- `limited`: Flickr answered 429, which concerns the key and so every endpoint.
local function take_in(circuit, is_probe, limited, counts)
  local fields = redis.call('HMGET', circuit, 'state', 'until')
  local state = fields[1]
  if limited then
    if state == 'open' or (state == 'half' and not is_probe) then
      -- Sent before it opened: it only may have to stay open for longer.
      if time + asked > tonumber(fields[2]) then
        redis.call('HSET', circuit, 'state', 'open', 'until', whole(time + asked))
        redis.call('PEXPIRE', circuit, whole(asked + FORGOTTEN))
      end
      return 0
    end
    return open(circuit, asked)
  elseif not counts then
    return 0
  elseif state == 'half' and is_probe then
    if failed > 0 then
      return open(circuit, 0)
    end
    redis.call('DEL', circuit)
    return -1
  elseif state then
    return 0
  elseif too_many_failed(circuit) then
    return open(circuit, 0)
  end
  return 0
end

local changes = {}
for n, name in ipairs({'rest', 'upload'}) do
  local own = name == endpoint
  changes[n] = take_in(circuit_key(app, name), own and probe, asked >= 0, own)
end
return changes
