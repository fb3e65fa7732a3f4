-- The names of the keys of one answer. Every script of the cache begins with this part.
-- ARGV[1] is the prefix of all keys, ARGV[2] the hash of the question, ARGV[3] the user, ARGV[4] the method.

local PREFIX, HASH, USER, METHOD = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

local ENTRY = PREFIX .. 'cache:' .. HASH
local FLIGHT = PREFIX .. 'flight:' .. HASH
local CACHED = PREFIX .. 'cached'
local BYTES = PREFIX .. 'cached-bytes'

-- What an answer takes beside its text: the keys, the generation and the places in the indexes.
local OVERHEAD = 512

local function whole(number)
  return string.format('%.0f', number)
end

local function now()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function present_generation()
  local parts = redis.call('MGET',
    PREFIX .. 'generation:user:' .. USER,
    PREFIX .. 'generation:method:' .. METHOD,
    PREFIX .. 'generation:both:' .. USER .. '|' .. METHOD)
  return (parts[1] or '') .. '/' .. (parts[2] or '') .. '/' .. (parts[3] or '')
end
