-- cjson: JSON in Lua, where a hook bounds it. What it makes of values is what lua-cjson makes of them.

local newproxy = newproxy
local byte, char, find, format, sub, gsub = string.byte, string.char, string.find, string.format, string.sub, string.gsub
local concat, floor, huge = table.concat, math.floor, math.huge
local DEPTH_LIMIT = 1000
local SPARSE_RATIO, SPARSE_SAFE = 2, 10
local NULL = newproxy()

local ESCAPES = {['"'] = '\\"', ["\\"] = "\\\\", ["/"] = "\\/", ["\b"] = "\\b", ["\f"] = "\\f", ["\n"] = "\\n",
                 ["\r"] = "\\r", ["\t"] = "\\t"}
local UNESCAPES = {['"'] = '"', ["\\"] = "\\", ["/"] = "/", b = "\b", f = "\f", n = "\n", r = "\r", t = "\t"}

local function escaped(c) return ESCAPES[c] or format("\\u%04x", byte(c)) end

local function quoted(text) return '"' .. gsub(text, '[%c"\\/\127]', escaped) .. '"' end

-- How many items a table has as an array, nil where it is none.
local function array_length(value)
    local most, items = 0, 0
    for key in pairs(value) do
        if type(key) ~= "number" or key < 1 or key ~= floor(key) then return nil end
        if key > most then most = key end
        items = items + 1
    end
    if most > SPARSE_SAFE and most > items * SPARSE_RATIO then
        error("Cannot serialise table: excessively sparse array", 0)
    end
    return most > 0 and most or nil
end

local encode

local function encode_array(out, value, length, depth)
    for i = 1, length do
        out[#out + 1] = i == 1 and "[" or ","
        encode(out, rawget(value, i), depth)
    end
    out[#out + 1] = "]"
end

local function encode_object(out, value, depth)
    local before = "{"
    for key, item in pairs(value) do
        if type(key) ~= "string" and type(key) ~= "number" then
            error("Cannot serialise table: table key must be a number or string", 0)
        end
        out[#out + 1] = before .. quoted(tostring(key)) .. ":"
        encode(out, item, depth)
        before = ","
    end
    out[#out + 1] = before == "{" and "{}" or "}"
end

function encode(out, value, depth)
    local kind = type(value)
    if kind == "string" then
        out[#out + 1] = quoted(value)
    elseif kind == "number" then
        if value ~= value or value == huge or value == -huge then
            error("Cannot serialise number: must not be NaN or Inf", 0)
        end
        out[#out + 1] = format("%.14g", value)
    elseif kind == "boolean" then
        out[#out + 1] = tostring(value)
    elseif kind == "nil" or value == NULL then
        out[#out + 1] = "null"
    elseif kind ~= "table" then
        error("Cannot serialise " .. kind .. ": type not supported", 0)
    elseif depth >= DEPTH_LIMIT then
        error("Cannot serialise, excessive depth (" .. DEPTH_LIMIT + 1 .. ")", 0)
    else
        local length = array_length(value)
        if length then encode_array(out, value, length, depth + 1) else encode_object(out, value, depth + 1) end
    end
end

local function wrong(wanted, at) error(format("Expected %s but found invalid token at character %d", wanted, at), 0) end

local function utf8(code)
    if code < 0x80 then return char(code) end
    if code < 0x800 then return char(0xC0 + floor(code / 64), 0x80 + code % 64) end
    if code < 0x10000 then return char(0xE0 + floor(code / 4096), 0x80 + floor(code / 64) % 64, 0x80 + code % 64) end
    return char(0xF0 + floor(code / 262144), 0x80 + floor(code / 4096) % 64, 0x80 + floor(code / 64) % 64,
                0x80 + code % 64)
end

local function four_digits(text, at)
    if not find(text, "^%x%x%x%x", at) then wrong("value", at) end
    return tonumber(sub(text, at, at + 3), 16)
end

-- The character that \u stands for, at its first digit; and what comes after.
local function unicode(text, at)
    local code = four_digits(text, at)
    if code < 0xD800 or code > 0xDFFF then return utf8(code), at + 4 end
    if code > 0xDBFF or sub(text, at + 4, at + 5) ~= "\\u" then wrong("value", at) end
    local low = four_digits(text, at + 6)
    if low < 0xDC00 or low > 0xDFFF then wrong("value", at) end
    return utf8(0x10000 + (code - 0xD800) * 0x400 + low - 0xDC00), at + 10
end

local function decode_string(text, at)
    local out, from = {}, at + 1
    while true do
        local stop = find(text, '["\\%z\1-\31]', from)
        local c = stop and sub(text, stop, stop)
        if c ~= '"' and c ~= "\\" then wrong("value", at) end
        out[#out + 1] = sub(text, from, stop - 1)
        if c == '"' then return concat(out), stop + 1 end
        local name = sub(text, stop + 1, stop + 1)
        if name == "u" then
            out[#out + 1], from = unicode(text, stop + 2)
        else
            out[#out + 1], from = UNESCAPES[name] or wrong("value", stop), stop + 2
        end
    end
end

local function skip(text, at) return find(text, "[^ \t\r\n]", at) or #text + 1 end

local decode

local function decode_array(text, at, depth)
    local items = {}
    at = skip(text, at + 1)
    if sub(text, at, at) == "]" then return items, at + 1 end
    while true do
        items[#items + 1], at = decode(text, at, depth)
        at = skip(text, at)
        local c = sub(text, at, at)
        if c == "]" then return items, at + 1 end
        if c ~= "," then wrong("comma or array end", at) end
        at = at + 1
    end
end

local function decode_object(text, at, depth)
    local fields, key = {}, nil
    at = skip(text, at + 1)
    if sub(text, at, at) == "}" then return fields, at + 1 end
    while true do
        if sub(text, at, at) ~= '"' then wrong("object key string", at) end
        key, at = decode_string(text, at)
        at = skip(text, at)
        if sub(text, at, at) ~= ":" then wrong("colon", at) end
        fields[key], at = decode(text, at + 1, depth)
        at = skip(text, at)
        local c = sub(text, at, at)
        if c == "}" then return fields, at + 1 end
        if c ~= "," then wrong("comma or object end", at) end
        at = skip(text, at + 1)
    end
end

local WORDS = {t = {"true", true}, f = {"false", false}, n = {"null", NULL}}

function decode(text, at, depth)
    if depth > DEPTH_LIMIT then error("Found too many nested data structures (" .. depth .. ")", 0) end
    at = skip(text, at)
    local c = sub(text, at, at)
    if c == "{" then return decode_object(text, at, depth + 1) end
    if c == "[" then return decode_array(text, at, depth + 1) end
    if c == '"' then return decode_string(text, at) end
    local word = WORDS[c]
    if word and sub(text, at, at + #word[1] - 1) == word[1] then return word[2], at + #word[1] end
    local first, last = find(text, "^-?%d+%.?%d*[eE]?[+-]?%d*", at)
    local number = first and tonumber(sub(text, first, last))
    if not number then wrong("value", at) end
    return number, last + 1
end

return function(check)
    local cjson = {null = NULL}

    function cjson.encode(value)
        check()
        local out = {}
        encode(out, value, 0)
        return concat(out)
    end

    function cjson.decode(text)
        check()
        if type(text) ~= "string" and type(text) ~= "number" then error("bad argument #1 to 'decode'", 2) end
        text = tostring(text)
        local value, at = decode(text, 1, 0)
        at = skip(text, at)
        if at <= #text then wrong("the end", at) end
        return value
    end

    return cjson
end
