-- Ends a rebuild: the budgets are whole. Answers 0, and changes nothing, when something was lost since it began.
local rebuild = PREFIX .. 'budget:rebuild:' .. ARGV[3]

local run = run_of_server()
if redis.call('GET', rebuild) ~= run then
  return 0
end
redis.call('SET', SERVER, run)
redis.call('DEL', rebuild)
return 1
