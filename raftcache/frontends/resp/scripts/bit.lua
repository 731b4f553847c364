-- The operations on 32 bits that Redis's scripts have, as Lua BitOp has them. Python computes them: `bits` is given an
-- operation and two numbers, and nothing else may come to it.

local format = string.format

return function(bits)
    local function number(value)
        local found = tonumber(value)
        if not found then error("number expected", 0) end
        return found
    end

    local function folded(operation)
        return function(first, ...)
            local result = bits("tobit", number(first), 0)
            for i = 1, select("#", ...) do result = bits(operation, result, number((select(i, ...)))) end
            return result
        end
    end

    local function shifted(operation) return function(a, b) return bits(operation, number(a), number(b)) end end

    return {
        band = folded("band"), bor = folded("bor"), bxor = folded("bxor"), tobit = folded("tobit"),
        lshift = shifted("lshift"), rshift = shifted("rshift"), arshift = shifted("arshift"), rol = shifted("rol"),
        ror = shifted("ror"),
        bnot = function(a) return bits("bnot", number(a), 0) end,
        bswap = function(a) return bits("bswap", number(a), 0) end,
        tohex = function(a) return format("%08x", bits("tobit", number(a), 0) % 2 ^ 32) end,
    }
end
