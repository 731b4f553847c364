-- What a script may reach, and how it is run. Lua 5.1, as in Redis, whose scripting API and error texts these are.
--
-- A script's functions get an environment of their own, in which there is nothing but what is listed below: no way to
-- files, to processes, to Python, to code from text, to the environments of functions, to the metatables of strings, to
-- the hook. What scripts share is behind proxies that refuse assignments, so that none leaves anything to the next.
--
-- A hook runs every PERIOD instructions and ends a script that takes too long. The end is an error, which must get
-- through: `pcall` raises it anew, `xpcall` calls its handler after the fact (a handler that runs inside the error of a
-- hook would run without one), and there are no coroutines, which have hooks of their own. Functions in C run without
-- a hook: those that can take long are bounded by the sizes of what they are given (`bounded.lua`).
--
-- Memory is bounded by the allocator. Bytes from Python are pushed outside of any protected call, where a refusal would
-- be the end of the process: `invoke` and `sha1` lift the bound, and `arm`, called next, sets it again.

local begin, invoke, arm, late, sha1, bits, PERIOD, STRING_LIMIT, PATTERN_STEPS, put, json, bit, bounded = ...

local assert, error, getmetatable, ipairs, next, pairs, pcall = assert, error, getmetatable, ipairs, next, pairs, pcall
local rawequal, rawget, rawset, select, setfenv, setmetatable = rawequal, rawget, rawset, select, setfenv, setmetatable
local tonumber, tostring, type, unpack, xpcall, loadstring = tonumber, tostring, type, unpack, xpcall, loadstring
local byte, find, format, gsub, sub, concat = string.byte, string.find, string.format, string.gsub, string.sub, table.concat
local getinfo, sethook = debug.getinfo, debug.sethook

local CHUNK, MEMORY = "@user_script", "not enough memory"
local ARGUMENTS_LIMIT = 1024

-- Ending a script ---------------------------------------------------------------------------------------------------

local killed, ticks, ticks_limit

local function kill(reason)
    killed = reason
    error(reason, 0)
end

local function check()
    if killed then error(killed, 0) end
    if late() then kill("time") end
end

local function tick()
    ticks = ticks + 1
    if ticks > ticks_limit then kill("instructions") end
    check()
end

local function survived(ok, ...)
    if not ok and not killed and (...) == MEMORY then killed = "memory" end
    if killed then error(killed, 0) end
    return ok, ...
end

local function safe_pcall(...) return survived(pcall(...)) end

local function handled(handler, ok, ...)
    if ok then return ok, ... end
    return false, handler(...)
end

local function safe_xpcall(f, handler) return handled(handler, survived(pcall(f))) end

-- What nobody may change --------------------------------------------------------------------------------------------

local frozen = {}

local function refuse_change() error("Attempt to modify a readonly table", 2) end

local function freeze(index)
    local proxy = setmetatable({}, {__index = index, __newindex = refuse_change, __metatable = false})
    frozen[proxy] = true
    return proxy
end

local function changing(f)
    return function(t, ...)
        if frozen[t] then error("Attempt to modify a readonly table", 2) end
        check()
        return f(t, ...)
    end
end

local strings, tables = bounded(check, changing, STRING_LIMIT, PATTERN_STEPS)
getmetatable("").__index = strings

-- redis.* -----------------------------------------------------------------------------------------------------------

local parse

local function parse_array(data, length, at)
    if length < 0 then return false, at end
    local items = {}
    for i = 1, length do items[i], at = parse(data, at) end
    return items, at
end

-- One reply in RESP2, from `at`; and where the next one begins.
function parse(data, at)
    local kind, stop = sub(data, at, at), find(data, "\r\n", at, true)
    local line, after = sub(data, at + 1, stop - 1), stop + 2
    if kind == "$" then
        local length = tonumber(line)
        if length < 0 then return false, after end
        return sub(data, after, after + length - 1), after + length + 2
    end
    if kind == ":" then return tonumber(line), after end
    if kind == "*" then return parse_array(data, tonumber(line), after) end
    if kind == "+" then return {ok = line}, after end
    return {err = line}, after
end

local function arguments(...)
    local given = {...}
    local length = select("#", ...)
    if length == 0 then return nil, "ERR Please specify at least one argument for this redis.call() call" end
    if length > ARGUMENTS_LIMIT then return nil, "ERR too many arguments for a command in a script" end
    for i = 1, length do
        if type(given[i]) == "number" then
            given[i] = format("%.17g", given[i])
        elseif type(given[i]) ~= "string" then
            return nil, "ERR Lua redis lib command arguments must be strings or integers"
        end
    end
    return given
end

local function execute(...)
    check()
    local given, problem = arguments(...)
    if not given then return {err = problem} end
    local data = invoke(unpack(given))
    arm()
    if data == "!" then kill("defect") end
    return (parse(data, 1))
end

local redis = {
    LOG_DEBUG = 0, LOG_VERBOSE = 1, LOG_NOTICE = 2, LOG_WARNING = 3,
    REPL_NONE = 0, REPL_AOF = 1, REPL_SLAVE = 2, REPL_REPLICA = 2, REPL_ALL = 3,
    REDIS_VERSION = "7.4.0", REDIS_VERSION_NUM = 0x070400,
    pcall = execute,
}

function redis.call(...)
    local reply = execute(...)
    if type(reply) == "table" and reply.err then error(reply, 0) end
    return reply
end

local function single_string(given, ...)
    if type(given) ~= "string" or select("#", ...) > 0 then return {err = "ERR wrong number or type of arguments"} end
end

function redis.error_reply(...)
    local problem = single_string(...)
    if problem then return problem end
    local text = gsub((...), "^%-", "")
    return {err = find(text, " ", 1, true) and text or "ERR " .. text}
end

function redis.status_reply(...)
    return single_string(...) or {ok = (...)}
end

function redis.sha1hex(...)
    if select("#", ...) ~= 1 then error("wrong number of arguments", 2) end
    local digest = sha1(tostring((...)))
    arm()
    return digest
end

function redis.setresp(version)
    if version ~= 2 then error("RESP version must be 2 in scripts", 2) end
end

function redis.log() end
redis.debug, redis.set_repl = redis.log, redis.log
function redis.breakpoint() return false end
function redis.replicate_commands() return true end

-- What a script sees ------------------------------------------------------------------------------------------------

local maths, clock = {}, os.clock
for name, value in pairs(math) do maths[name] = value end

local globals = {
    _VERSION = _VERSION, assert = assert, error = error, ipairs = ipairs, next = next, pairs = pairs,
    pcall = safe_pcall, xpcall = safe_xpcall, rawequal = rawequal, rawget = rawget, rawset = changing(rawset),
    select = select, setmetatable = changing(setmetatable), tonumber = tonumber, tostring = tostring, type = type,
    unpack = unpack, math = freeze(maths), string = freeze(strings), table = freeze(tables), redis = freeze(redis),
    bit = freeze(bit(bits)), os = freeze({clock = clock}), cjson = freeze(json(check)),
}

function globals.getmetatable(value)
    if type(value) == "table" then return getmetatable(value) end
end

local function global(_, name)
    local value = globals[name]
    if value == nil then
        error("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 2)
    end
    return value
end

local environment = freeze(global)
globals._G = environment

-- Running -----------------------------------------------------------------------------------------------------------

-- Where in the script an error comes from, and its text, as Redis puts them. The last call of a function leaves no
-- trace of where it stood.
local function told(problem)
    if killed or problem == MEMORY then return problem end
    local text = problem
    if type(problem) == "table" then text = rawget(problem, "err") end
    if type(text) ~= "string" and type(text) ~= "number" then text = "unknown error" end
    if type(problem) ~= "table" then text = "ERR " .. gsub(text, "^sandbox:%d+: ", "") end
    for level = 2, 12 do
        local at = getinfo(level, "Sl")
        if at and at.source == CHUNK then return {err = text, line = at.currentline} end
    end
    return {err = text, line = false}
end

local function failed(sha, problem)
    if problem == MEMORY then killed = killed or "memory" end
    if killed then error(killed, 0) end
    if type(problem) ~= "table" then return "failed", "ERR " .. tostring(problem) end
    if problem.line == nil then return "failed", problem.err end
    if not problem.line then return "failed", format("%s script: %s, on %s.", problem.err, sha, CHUNK) end
    return "failed", format("%s script: %s, on %s:%d.", problem.err, sha, CHUNK, problem.line)
end

local function perform(script, sha)
    local ok, value = xpcall(script, told)
    if not ok then return failed(sha, value) end
    local out = {}
    local whole, problem = pcall(put, out, value, 0)
    if not whole then return failed(sha, problem) end
    return "done", concat(out)
end

local compiled = {}

local function compile(sha, source)
    if byte(source, 1) == 27 then return "user_script:1: compiled code is not accepted" end
    local script, problem = loadstring(source, CHUNK)
    if not script then return problem end
    compiled[sha] = setfenv(script, environment)
end

local function forget(sha) compiled[sha] = nil end

local function hand_over(keys, ...)
    local given, names = {...}, {}
    for i = 1, keys do names[i] = given[i] end
    globals.KEYS, globals.ARGV = names, {unpack(given, keys + 1)}
end

local function run(sha, limit, keys, ...)
    begin()
    killed, ticks, ticks_limit = nil, 0, limit
    hand_over(keys, ...)
    sethook(tick, "", PERIOD)
    local ok, kind, data = pcall(perform, compiled[sha], sha)
    sethook()
    globals.KEYS, globals.ARGV = nil, nil
    if killed or not ok then return "killed", killed or "memory", ticks end
    return kind, data, ticks
end

-- Nothing of this is to be had from a script, but what is not there cannot be found either.
for _, name in ipairs({"python", "io", "os", "debug", "package", "require", "module", "load", "loadfile", "dofile",
                       "loadstring", "newproxy", "getfenv", "setfenv", "coroutine", "collectgarbage", "print", "gcinfo"}) do
    rawset(_G, name, nil)
end

return compile, run, forget
