-- The libraries of strings and of tables, without what takes long: functions in C run without the hook that ends a
-- script. Sizes are looked at before, and where that says little, whether the script's time is over (`check`).

local find, format, gsub, sub, rep = string.find, string.format, string.gsub, string.sub, string.rep
local concat, insert, maxn, remove, sort = table.concat, table.insert, table.maxn, table.remove, table.sort

return function(check, changing, STRING_LIMIT, PATTERN_STEPS)
    local function count(pattern, what) return select(2, gsub(pattern, what, "")) end

    -- An upper bound of the steps that matching takes: a power of the subject's length for each item that may be
    -- repeated, and one for the places to begin at. An item at the very end is never tried again, for nothing after it
    -- can fail. To gmatch ^ is a character like any other.
    local function steps(subject, pattern, anchors)
        local plain = gsub(gsub(pattern, "%%[^bf%d]", "x"), "%[%^?%]?[^%]]*%]", "x")
        local open_end = gsub(gsub(plain, "%)+$", ""), "[*+-]$", "")
        local loops = count(open_end, "[*+-]") + count(plain, "%%[bf%d]")
        if not anchors or sub(pattern, 1, 1) ~= "^" then loops = loops + 1 end
        return (#subject + 1) ^ loops * 2 ^ count(plain, "%?") * #pattern + #subject
    end

    local function bounded(f, anchors)
        return function(subject, pattern, a, b)
            check()
            local s, p = subject, pattern
            if type(s) == "number" then s = tostring(s) end
            if type(p) == "number" then p = tostring(p) end
            if type(s) == "string" and type(p) == "string" then
                local cost = (f == find and b) and #s * #p / 8 or steps(s, p, anchors)
                if cost > PATTERN_STEPS then
                    error(format("pattern may take too long on a string of %d bytes", #s), 2)
                end
            end
            return f(s, p, a, b)
        end
    end

    local strings = {
        byte = string.byte, char = string.char, format = format, len = string.len, lower = string.lower, reverse = string.reverse,
        sub = sub, upper = string.upper, find = bounded(find, true), match = bounded(string.match, true),
        gmatch = bounded(string.gmatch, false), gsub = bounded(gsub, true),
    }

    function strings.rep(text, times)
        check()
        local length = type(text) == "number" and #tostring(text) or type(text) == "string" and #text or 0
        times = tonumber(times)
        if length == 0 then return rep(text, times and 0) end
        if times and times * length > STRING_LIMIT then error("resulting string too large", 2) end
        return rep(text, times)
    end

    local function smaller(a, b) return a < b end

    local tables = {
        concat = function(...) check() return concat(...) end,
        foreach = table.foreach, foreachi = table.foreachi, getn = table.getn,
        maxn = function(...) check() return maxn(...) end,
        insert = changing(insert), remove = changing(remove),
        sort = changing(function(t, before) return sort(t, before or smaller) end),
    }

    return strings, tables
end
