#!lua name=coupon

-- A debit as a Redis team would write it: a function that looks for the key, changes the coupon and keeps the answer.
-- Keys: the request's, the coupon's. Arguments: amount, now (s since 1970), shop.
-- Answer: code|balance|request. Codes: 0 taken, 1 too little, 2 expired, 3 no such coupon, 9 the key was used for another.
local function debit(keys, args)
  local request = keys[2] .. ':' .. args[3] .. ':' .. args[1]
  local old = redis.call('GET', keys[1])
  if old then
    if string.match(old, '^%d+|%-?%d+|(.*)$') ~= request then return '9|0|' .. request end
    return old
  end
  local c = redis.call('HMGET', keys[2], 'balance', 'expires')
  local code, balance, amount = 0, tonumber(c[1] or 0), tonumber(args[1])
  if not c[1] then
    code = 3
  elseif tonumber(c[2]) <= tonumber(args[2]) then
    code = 2
  elseif balance < amount then
    code = 1
  else
    balance = redis.call('HINCRBY', keys[2], 'balance', -amount)
  end
  local answer = code .. '|' .. balance .. '|' .. request
  redis.call('SET', keys[1], answer, 'EX', 86400)
  return answer
end

-- Coupons first to last, named as redis-benchmark names a random number.
local function seed(keys, args)
  for i = tonumber(args[1]), tonumber(args[2]) do
    redis.call('HSET', string.format('c:%012d', i), 'balance', 1000000, 'expires', tonumber(args[3]) + 31536000)
  end
  return redis.status_reply('OK')
end

local function total(keys, args)
  local sum = 0
  for i = tonumber(args[1]), tonumber(args[2]) do
    sum = sum + tonumber(redis.call('HGET', string.format('c:%012d', i), 'balance'))
  end
  return sum
end

redis.register_function('debit', debit)
redis.register_function('seed', seed)
redis.register_function{function_name = 'total', callback = total, flags = {'no-writes'}}
