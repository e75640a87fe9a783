"""The script that tells exposures and outcomes to the online store; ``experiment_sums`` has its keys and arguments."""

from __future__ import annotations

from typing import Final

TELL: Final = b"""
local call, base = redis.call, KEYS[1]
local units, values, sums, waiting = base .. 'units', base .. 'values', base .. 'sums', base .. 'waiting'
local period, kept, ids_kept, skew, most = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local now, oldest, horizon, writer = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), ARGV[9]
local metrics, at = {}, 11
for i = 1, tonumber(ARGV[10]) do
  metrics[i] = {name = ARGV[at], kind = ARGV[at + 1], x = ARGV[at + 2], z = ARGV[at + 3]}
  at = at + 4
end
local function add(list, x)
  local n = 0
  for i = 1, #list do
    local y = list[i]
    if math.abs(x) < math.abs(y) then x, y = y, x end
    local high = x + y
    local low = y - (high - x)
    if low ~= 0 then n = n + 1; list[n] = low end
    x = high
  end
  for i = #list, n + 1, -1 do list[i] = nil end
  if x ~= 0 then list[n + 1] = x end
end
local function rounded(list)
  local i = #list
  if i == 0 then return 0 end
  local high, low = list[i], 0
  while i > 1 do
    i = i - 1
    local x, y = high, list[i]
    high = x + y
    low = y - (high - x)
    if low ~= 0 then break end
  end
  if i > 1 and (low < 0 and list[i - 1] < 0 or low > 0 and list[i - 1] > 0) then
    local twice = low * 2
    local x = high + twice
    if twice == x - high then high = x end
  end
  return high
end
local function split(a)
  local c = 134217729 * a
  local high = c - (c - a)
  return high, a - high
end
local function add_product(list, a, b, sign)
  local p = a * b
  if p == 0 then return end
  local a1, a2 = split(a)
  local b1, b2 = split(b)
  local e = ((a1 * b1 - p) + a1 * b2 + a2 * b1) + a2 * b2
  add(list, sign * p)
  if e ~= 0 then add(list, sign * e) end
end
local function unpacked(raw)
  local list = {}
  if raw then for i = 1, #raw, 8 do list[#list + 1] = struct.unpack('<d', raw, i) end end
  return list
end
local function packed(list)
  local parts = {}
  for i = 1, #list do parts[i] = struct.pack('<d', list[i]) end
  return table.concat(parts)
end
local parts = {'x', 'xx', 'z', 'zz', 'xz'}
local cells, touched = {}, {}
local function cell_of(name)
  local cell = cells[name]
  if not cell then
    local raw = call('HMGET', sums, name .. 'x', name .. 'xx', name .. 'z', name .. 'zz', name .. 'xz')
    cell = {n = 0}
    for i = 1, 5 do cell[parts[i]] = unpacked(raw[i]) end
    cells[name] = cell
  end
  return cell
end
local lists, changed = {}, {}
local function read_all(key, names, take)
  for from = 1, #names, 1000 do
    local to = math.min(from + 999, #names)
    local raw = call('HMGET', key, unpack(names, from, to))
    for i = from, to do take(names[i], raw[i - from + 1]) end
  end
end
local function list_of(name)
  local list = lists[name]
  if list == nil then
    local raw = call('HGET', values, name)
    list = raw and unpacked(raw)
    lists[name] = list
  end
  return list
end
local function value_of(name)
  local list = list_of(name)
  return list and rounded(list) or nil
end
local function count(metric, epoch, arm, x0, z0, x1, z1)
  local cell = cell_of(metric.name .. '\\0' .. epoch .. '\\0' .. arm .. '\\0')
  if not x0 and not z0 then cell.n = cell.n + 1 end
  x0, z0, x1, z1 = x0 or 0, z0 or 0, x1 or 0, z1 or 0
  if metric.kind == 'p' then
    x0 = x0 > 0 and 1 or 0
    x1 = x1 > 0 and 1 or 0
  end
  if x0 ~= x1 then
    add(cell.x, -x0)
    add(cell.x, x1)
    add_product(cell.xx, x0, x0, -1)
    add_product(cell.xx, x1, x1, 1)
  end
  if metric.z ~= '' then
    if z0 ~= z1 then
      add(cell.z, -z0)
      add(cell.z, z1)
      add_product(cell.zz, z0, z0, -1)
      add_product(cell.zz, z1, z1, 1)
    end
    add_product(cell.xz, x0, z0, -1)
    add_product(cell.xz, x1, z1, 1)
  end
end
local function take(unit, first, outcome, value, time)
  local arm, epoch, exposed = string.match(first, '^(%Z*)%z(%Z*)%z(%Z*)$')
  exposed = tonumber(exposed)
  local before = false
  if time < exposed then
    for i = 1, #metrics do before = before or metrics[i].kind == 'c' and metrics[i].z == outcome end
    if not before and time < exposed - skew then return false end
  end
  local side = before and 'b' or 'a'
  local name = unit .. '\\0' .. outcome .. '\\0' .. side
  local list = list_of(name)
  local old = nil
  if list then
    old = rounded(list)
  else
    list = {}
    lists[name] = list
  end
  add(list, value)
  local new = rounded(list)
  changed[name] = list
  for i = 1, #metrics do
    local m = metrics[i]
    local other = m.kind == 'c' and 'b' or 'a'
    local is_x, is_z = m.x == outcome and side == 'a', m.z == outcome and side == other
    if is_x and is_z then
      count(m, epoch, arm, old, old, new, new)
    elseif is_x then
      local z = nil
      if m.z ~= '' then z = value_of(unit .. '\\0' .. m.z .. '\\0' .. other) end
      count(m, epoch, arm, old, z, new, z)
    elseif is_z then
      local x = value_of(unit .. '\\0' .. m.x .. '\\0a')
      count(m, epoch, arm, x, old, x, new)
    end
  end
  return side
end
local function has_values(unit)
  for i = 1, #metrics do
    for _, outcome in ipairs({metrics[i].x, metrics[i].z}) do
      local name = unit .. '\\0' .. outcome .. '\\0'
      if list_of(name .. 'a') or list_of(name .. 'b') then return true end
    end
  end
  return false
end
local n = tonumber(ARGV[at])
at = at + 1
for i = 1, n do
  local unit, arm, epoch, time = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  at = at + 4
  local first = call('HGET', units, unit)
  if not first then
    first = arm .. '\\0' .. epoch .. '\\0' .. time
    call('HSET', units, unit, first)
    call('HINCRBY', sums, 'e\\0' .. epoch .. '\\0' .. arm, 1)
    local held = call('HGET', waiting, unit)
    if held then
      call('HDEL', waiting, unit)
      local place = 1
      while place <= #held do
        local outcome, value, when
        outcome, value, when, place = struct.unpack('<I2c0dd', held, place)
        call('HINCRBY', sums, 'waiting', -1)
        if take(unit, first, outcome, value, when) then call('HINCRBY', sums, 'unexposed', -1) end
      end
    end
  else
    local old_arm, old_epoch, exposed = string.match(first, '^(%Z*)%z(%Z*)%z(%Z*)$')
    if old_arm ~= arm then call('SADD', base .. 'crossed', unit) end
    if tonumber(time) < tonumber(exposed) and not has_values(unit) then
      call('HSET', units, unit, arm .. '\\0' .. epoch .. '\\0' .. time)
      local left = 'e\\0' .. old_epoch .. '\\0' .. old_arm
      if call('HINCRBY', sums, left, -1) == 0 then call('HDEL', sums, left) end
      call('HINCRBY', sums, 'e\\0' .. epoch .. '\\0' .. arm, 1)
    end
  end
end
local known, previous = base .. 'ids:' .. period, base .. 'ids:' .. (tonumber(period) - 1)
local following = base .. 'ids:' .. (tonumber(period) + 1)
local answers, late, unexposed = {}, 0, 0
n = tonumber(ARGV[at])
if n > 0 and now - oldest > horizon then
  local began = tonumber(call('HGET', base .. 'state', 'began') or '0')
  if now - began > horizon then
    call('HDEL', base .. 'state', 'whole')
    for i = 1, n do answers[i] = 4 end
    n = 0
  end
end
local ids, outcomes, new = {}, {}, {}
for i = 1, n do
  local id, value, time, is_late, unit, rest = struct.unpack('<c16ddBI2c0', ARGV[at + i])
  ids[i] = id
  outcomes[i] = {unit, string.sub(ARGV[at + i], rest), value, time, is_late == 1}
end
if n > 0 then
  local seen = {}
  for _, key in ipairs({known, previous, following}) do
    local found = call('SMISMEMBER', key, unpack(ids))
    for i = 1, n do if found[i] == 1 then seen[ids[i]] = true end end
  end
  local added, its_units, names = {}, {}, {}
  local met, named = {}, {}
  local function want(name)
    if not named[name] and lists[name] == nil then
      named[name] = true
      names[#names + 1] = name
    end
  end
  for i = 1, n do
    local id = ids[i]
    if seen[id] then
      answers[i] = 0
    else
      seen[id] = true
      added[#added + 1] = id
      new[#new + 1] = i
      local unit, outcome = outcomes[i][1], outcomes[i][2]
      if not met[unit] then
        met[unit] = true
        its_units[#its_units + 1] = unit
      end
      want(unit .. '\\0' .. outcome .. '\\0a')
      for j = 1, #metrics do
        local m = metrics[j]
        local other = m.kind == 'c' and 'b' or 'a'
        if m.z ~= '' and m.x == outcome then want(unit .. '\\0' .. m.z .. '\\0' .. other) end
        if m.z == outcome then
          want(unit .. '\\0' .. m.x .. '\\0a')
          want(unit .. '\\0' .. outcome .. '\\0' .. other)
        end
      end
    end
  end
  if #added > 0 then call('SADD', known, unpack(added)) end
  local first_of = {}
  read_all(units, its_units, function(unit, raw) first_of[unit] = raw end)
  read_all(values, names, function(name, raw) lists[name] = raw and unpacked(raw) end)
  for _, i in ipairs(new) do
    local unit, outcome, value, time, is_late = unpack(outcomes[i])
    local first = first_of[unit]
    local side = first and take(unit, first, outcome, value, time)
    if side then
      answers[i] = 1
      if is_late and side == 'a' then late = late + 1 end
    else
      answers[i] = 2
      unexposed = unexposed + 1
      if not first and tonumber(call('HGET', sums, 'waiting') or '0') < most then
        local held = call('HGET', waiting, unit) or ''
        call('HSET', waiting, unit, held .. struct.pack('<I2c0dd', #outcome, outcome, value, time))
        call('HINCRBY', sums, 'waiting', 1)
      end
    end
  end
end
local written = {}
for name, list in pairs(changed) do
  written[#written + 1] = name
  written[#written + 1] = packed(list)
  if #written == 1000 then
    call('HSET', values, unpack(written))
    written = {}
  end
end
if #written > 0 then call('HSET', values, unpack(written)) end
if late > 0 then call('HINCRBY', sums, 'late', late) end
if unexposed > 0 then call('HINCRBY', sums, 'unexposed', unexposed) end
for name, cell in pairs(cells) do
  if cell.n > 0 then call('HINCRBY', sums, name .. 'n', cell.n) end
  call('HSET', sums, name .. 'x', packed(cell.x), name .. 'xx', packed(cell.xx))
  if #cell.z > 0 or #cell.zz > 0 or #cell.xz > 0 then
    call('HSET', sums, name .. 'z', packed(cell.z), name .. 'zz', packed(cell.zz), name .. 'xz', packed(cell.xz))
  end
end
for _, name in ipairs({'units', 'values', 'sums', 'waiting', 'crossed', 'state'}) do
  call('EXPIRE', base .. name, kept)
end
call('EXPIRE', known, ids_kept)
local said = call('HGET', base .. 'logs', writer)
if said and string.sub(said, 1, 1) == '2' then call('HSET', base .. 'logs', writer, '1' .. string.sub(said, 2)) end
return answers
"""
