-- Looks for an answer. ARGV[5] is who would lead (nobody: only looks), ARGV[6] its lease in milliseconds, ARGV[7] is 1
-- when no answer will do that is there already.
-- Answers {kind, generation, age in milliseconds, body}; kind is fresh, stale, missing, or fetching when another one leads.
local holder, lease, anew = ARGV[5], ARGV[6], ARGV[7] == '1'

local generation = present_generation()
local entry = redis.call('HMGET', ENTRY, 'generation', 'stored', 'fresh', 'body')
local age, stale = 0, false
if not anew and entry[1] == generation then
  local time = now()
  age = math.max(0, time - tonumber(entry[2]))
  if time < tonumber(entry[3]) then
    return {'fresh', generation, age, entry[4]}
  end
  stale = entry[4]
end
if holder ~= '' and not redis.call('SET', FLIGHT, holder, 'NX', 'PX', lease)
  and redis.call('GET', FLIGHT) ~= holder then
  return {'fetching', generation, 0, ''}
end
if stale then
  return {'stale', generation, age, stale}
end
return {'missing', generation, 0, ''}
