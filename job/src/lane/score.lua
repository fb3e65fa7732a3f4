-- What the score of a job in its lane says: rank * 2^51 + acceptance in ms since 2020 * 2^10 + weight (entry.rs).
local RANK, ACCEPTED = 2 ^ 51, 2 ^ 10

local function rank_of(score)
  return math.floor(score / RANK)
end

-- Acceptance, then weight: of two jobs, the one with the greater number was accepted later.
local function age_of(score)
  return score % RANK
end

local function weight_of(score)
  return math.max(1, score % ACCEPTED)
end

-- In milliseconds since 1970.
local SINCE = 1577836800000
local function accepted_at(score)
  return SINCE + math.floor(age_of(score) / ACCEPTED)
end
