-- Answers {jobs, reserved, delayed, in the window, {user, jobs in the lane, …}}; ARGV[3] is the most users to name.
return {
  redis.call('ZCARD', JOBS),
  redis.call('ZCARD', RESERVED),
  redis.call('ZCARD', DELAYED),
  redis.call('ZCARD', INFLIGHT),
  redis.call('ZREVRANGE', SIZES, 0, tonumber(ARGV[3]) - 1, 'WITHSCORES'),
}
