-- What a script returns, as msgpack, by the rules by which Redis makes replies of it: numbers become integers, an array
-- ends at its first nil, `{ok = ...}` is a status and `{err = ...}` an error. Metamethods are not asked.

local char, floor, ceil = string.char, math.floor, math.ceil
local DEPTH_LIMIT = 100

local function four(n)
    return char(floor(n / 0x1000000) % 256, floor(n / 0x10000) % 256, floor(n / 0x100) % 256, n % 256)
end

local function packed_integer(n)
    n = n < 0 and ceil(n) or floor(n)
    if n >= -2 ^ 31 and n < 2 ^ 31 then return "\210" .. four(n % 2 ^ 32) end
    if not (n >= -2 ^ 63 and n < 2 ^ 63) then n = -2 ^ 63 end
    return "\211" .. four(floor(n / 2 ^ 32) % 2 ^ 32) .. four(n % 2 ^ 32)
end

local function packed_bytes(text) return "\198" .. four(#text) .. text end

local put

local function put_table(out, value, depth)
    if depth > DEPTH_LIMIT then error({err = "ERR reached lua stack limit"}, 0) end
    local problem, status = rawget(value, "err"), rawget(value, "ok")
    if type(problem) == "string" then
        out[#out + 1] = "\129\163err" .. packed_bytes(problem)
    elseif type(status) == "string" then
        out[#out + 1] = "\129\162ok" .. packed_bytes(status)
    else
        local place, length = #out + 1, 0
        out[place] = ""
        while rawget(value, length + 1) ~= nil do
            length = length + 1
            put(out, rawget(value, length), depth + 1)
        end
        out[place] = "\221" .. four(length)
    end
end

function put(out, value, depth)
    local kind = type(value)
    if kind == "string" then
        out[#out + 1] = packed_bytes(value)
    elseif kind == "number" then
        out[#out + 1] = packed_integer(value)
    elseif kind == "table" then
        put_table(out, value, depth)
    else
        out[#out + 1] = value == true and "\210\0\0\0\1" or "\192"
    end
end

return put
