-- Answers {jobs, reserved, delayed, in the window, parked lanes, {lane, its jobs, …}}; ARGV[3] is the most lanes to name.
return {
  queue_size(),
  redis.call('ZCARD', RESERVED),
  redis.call('ZCARD', DELAYED),
  redis.call('ZCARD', INFLIGHT),
  redis.call('ZCARD', PARKED),
  redis.call('ZREVRANGE', SIZES, 0, tonumber(ARGV[3]) - 1, 'WITHSCORES'),
}
