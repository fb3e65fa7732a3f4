-- How much may be released: without budgets, everything.

-- Requests of an application that may be released now; when none, the ms since 1970 at which to ask again.
local function app_room(app)
  return 1000000
end

-- The same for a user's token.
local function user_room(app, user)
  return 1000000
end
