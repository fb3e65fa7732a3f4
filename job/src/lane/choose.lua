-- Which job of a lane is next: smooth weighted round-robin over the priorities of which there are jobs, as nginx has
-- it for servers. Every one gains its share of the turns, the richest is served (of equals the higher priority) and
-- pays for all. A priority without jobs keeps what it has, and a lane of one priority keeps no account.
-- Accounts stay within 10 of zero, and a job at the head of the low ones waits for at most 12 others of its lane.
local SHARES = {6, 3, 1}

-- The first and the last job of one rank (0 is high): id, score, id, score.
local function ends_of(lane, rank)
  local from, to = whole(rank * RANK), '(' .. whole((rank + 1) * RANK)
  local first = redis.call('ZRANGEBYSCORE', lane, from, to, 'WITHSCORES', 'LIMIT', 0, 1)
  if first[1] then
    local last = redis.call('ZREVRANGEBYSCORE', lane, to, from, 'WITHSCORES', 'LIMIT', 0, 1)
    return first[1], tonumber(first[2]), tonumber(last[2])
  end
end

local function read_credits(name)
  local high, normal, low = string.match(redis.call('HGET', CREDITS, name) or '0|0|0', '^([^|]*)|([^|]*)|(.*)$')
  return {tonumber(high), tonumber(normal), tonumber(low)}
end

-- Answers the job, its score, the weight of the lane, which is that of the job in it that was accepted last, and whether
-- the job is the only one.
local function choose(app, user)
  local lane, name = lane_key(app, user), lane_name(app, user)
  local first = redis.call('ZRANGE', lane, 0, 0, 'WITHSCORES')
  if not first[1] then
    return nil
  end
  local last = redis.call('ZRANGE', lane, -1, -1, 'WITHSCORES')
  local lowest, highest = rank_of(tonumber(last[2])), rank_of(tonumber(first[2]))
  if lowest == highest then
    return first[1], tonumber(first[2]), weight_of(tonumber(last[2])), first[1] == last[1]
  end

  local credits = read_credits(name)
  local newest, all, richest, job, score = 0, 0, nil, nil, nil
  for rank = highest, lowest do
    local head, head_score, tail_score = ends_of(lane, rank)
    if head then
      local n = rank + 1
      newest = math.max(newest, age_of(tail_score))
      all = all + SHARES[n]
      credits[n] = credits[n] + SHARES[n]
      if not richest or credits[n] > credits[richest] then
        richest, job, score = n, head, head_score
      end
    end
  end
  credits[richest] = credits[richest] - all
  redis.call('HSET', CREDITS, name, table.concat(credits, '|'))
  return job, score, weight_of(newest), false
end
