-- Whether budgets have to be rebuilt: 0 no, 1 there are none, 2 another run of a server has them. If so, what the rebuild
-- with this id is allowed to finish: one of the present run, as long as nothing is lost again.
local rebuild, kept = ARGV[3], ARGV[4]

if budgets_are_whole() then
  return 0
end
redis.call('SET', PREFIX .. 'budget:rebuild:' .. rebuild, run_of_server(), 'PX', kept)
return redis.call('EXISTS', SERVER) == 1 and 2 or 1
