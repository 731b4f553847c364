"""Attacks on the sandbox: each is refused, in bounded time, and leaves nothing to the script that runs next."""

from __future__ import annotations

import time

import msgspec
import pytest

from raftcache.frontends.resp.scripts import sandbox as sandbox_module
from raftcache.frontends.resp.scripts.sandbox import RUN_LIMIT_S, Allowance, DoesNotCompile, Sandbox, Spent, Stopped

LARGE = b"$1000000\r\n" + b"x" * 1_000_000 + b"\r\n"
SLACK_S = 1.0
"""What a loaded machine may add to a run, on the clock of the wall."""


@pytest.fixture(scope="module")
def lua() -> Sandbox:
    return Sandbox(time.thread_time)


def answered(args: list[bytes]) -> bytes:
    return LARGE if args[0] == b"LARGE" else b"$1\r\nx\r\n"


def run(lua: Sandbox, source: str, *args: bytes) -> object:
    """The result, the error as a text, or why it was stopped."""
    try:
        done, data = lua.run(source.encode("latin-1"), (), args, answered)
    except Stopped as stopped:
        return stopped.reason
    return msgspec.msgpack.decode(data) if done else data.decode()


GONE = (
    *("io", "debug", "package", "require", "module", "load", "loadfile", "loadstring", "dofile", "python", "getfenv"),
    *("setfenv", "newproxy", "coroutine", "collectgarbage", "gcinfo", "print", "jit", "ffi", "lupa", "__builtins__"),
)


@pytest.mark.parametrize("name", GONE)
def test_what_leads_out_is_not_there(lua: Sandbox, name: str) -> None:
    said = run(lua, f"return {name}")
    assert isinstance(said, str) and f"nonexistent global variable '{name}'" in said
    assert run(lua, f"return rawget(_G, '{name}')") is None


@pytest.mark.parametrize("name", ["os.execute", "os.exit", "os.getenv", "os.remove", "string.dump", "redis.load"])
def test_nor_are_the_parts_of_libraries_that_do(lua: Sandbox, name: str) -> None:
    assert run(lua, f"return type({name})") == b"nil"


def test_no_object_of_python_is_to_be_had(lua: Sandbox) -> None:
    """Everything within reach, from the globals and the libraries, is a value of Lua's own."""
    walk = """
        local kinds, names = {}, {'assert', 'cjson', 'redis', 'string', 'table', 'math', 'bit', 'os', '_G', 'pcall'}
        for _, name in ipairs(names) do kinds[type(_G[name])] = true end
        for _, name in ipairs({'call', 'pcall', 'sha1hex', 'log'}) do kinds[type(redis[name])] = true end
        local found = {}
        for kind in pairs(kinds) do found[#found + 1] = kind end
        table.sort(found)
        return found
    """
    assert run(lua, walk) == [b"function", b"table"]


CHANGES = (
    *("x = 1", "_G.x = 1", "rawset(_G, 'x', 1)", "setmetatable(_G, {})", "string.rep = 1", "redis.call = nil"),
    *("rawset(string, 'rep', 1)", "table.insert(string, 1)", "table.insert(_G, 'x')", "table.sort(_G)", "KEYS = {}"),
    *("table.remove(_G)", "setmetatable(string, {})", "function cjson.encode() end", "math.pi = 3"),
)


@pytest.mark.parametrize("source", CHANGES)
def test_what_scripts_share_cannot_be_changed(lua: Sandbox, source: str) -> None:
    said = run(lua, source)
    assert isinstance(said, str) and "Attempt to modify a readonly table" in said
    assert run(lua, "return {rawget(_G, 1) == nil, rawget(string, 1) == nil, ('a'):rep(2)}") == [1, 1, b"aa"]


METATABLES = {
    "return getmetatable('')": None,
    "return getmetatable(1)": None,
    "return tostring(getmetatable(_G))": b"false",
    "return tostring(getmetatable(redis))": b"false",
    "return getmetatable(cjson.null)": None,
    "return getmetatable(setmetatable({}, {7}))[1]": 7,
}


@pytest.mark.parametrize(("source", "result"), METATABLES.items(), ids=METATABLES)
def test_metatables_are_out_of_reach_but_for_a_scripts_own(lua: Sandbox, source: str, result: object) -> None:
    assert run(lua, source) == result


def test_nothing_is_left_to_the_next_script(lua: Sandbox) -> None:
    run(lua, "KEYS[1], ARGV[1] = 'mine', 'mine'", b"x")
    assert run(lua, "return {#KEYS, #ARGV}") == [0, 0]
    run(lua, "local s = string s = nil local function f() leak = 1 end pcall(f)")
    assert run(lua, "return pcall(function() return leak end)") is None


ENDLESS = (
    "while true do end",
    "while true do pcall(function() while true do end end) end",
    "pcall(function() while true do end end) return 'went on'",
    "xpcall(function() while true do end end, function() while true do end end)",
    "xpcall(error, function() while true do end end)",
    "local function f() pcall(f) return f() end f()",
    "return setmetatable({}, {__index = function() while true do end end}).x",
    "return tostring(setmetatable({}, {__tostring = function() while true do end end}))",
    "table.sort({3, 2, 1}, function() while true do end end)",
    "local t = {} for i = 1, 1e6 do t[i] = i * 7919 % 1000003 end table.sort(t)",
    "local t = {} for i = 1, 1e6 do table.insert(t, 1, i) end",
    "string.gsub(string.rep('a', 1000), 'a', function() while true do end end)",
    "local t = {} for _ = 1, 90 do t = {t, t} end return t",
    "local t = {} for _ = 1, 90 do t = {t, t} end return cjson.encode(t)",
    "while true do redis.call('LARGE') end",
    "while true do redis.pcall('GET', 'a') end",
    "while true do cjson.decode('[1,2,3]') end",
    "while true do string.rep('x', 4e6) end",
    "local s = string.rep('a', 4e6) while true do local _ = s .. 'a' < s .. 'b' end",
    "while true do string.find(string.rep('a', 1000), 'a*b') end",
)


@pytest.mark.parametrize("source", ENDLESS)
def test_endless_scripts_are_stopped(lua: Sandbox, source: str) -> None:
    began_s = time.monotonic()
    assert run(lua, source) in ("time", "memory")
    assert time.monotonic() - began_s < RUN_LIMIT_S + SLACK_S
    assert run(lua, "return 1") == 1


BOMBS = (
    "local s = 'x' while true do s = s .. s end",
    "local t = {} for i = 1, 1e9 do t[i] = {} end",
    "while true do pcall(function() local s = 'x' while true do s = s .. s end end) end",
    "local t = {} for i = 1, 100 do t[i] = redis.call('LARGE') .. i end",
    "local t = {} for i = 1, 100 do t[i] = string.rep('x', 4e6 - i) end",
    "return string.format('%s%s%s%s%s', ARGV[1], ARGV[1], ARGV[1], ARGV[1], ARGV[1])",
    "return (ARGV[1]:gsub('.', '%0%0%0%0%0%0%0%0'))",
)


@pytest.mark.parametrize("source", BOMBS)
def test_memory_is_bounded(lua: Sandbox, source: str) -> None:
    began_s = time.monotonic()
    assert run(lua, source, b"x" * (4 << 20)) in ("memory", "time")
    assert time.monotonic() - began_s < RUN_LIMIT_S + SLACK_S
    assert run(lua, "return 1") == 1


@pytest.mark.parametrize("strings", [2**power - 1 for power in (10, 13, 15, 17)])
def test_a_reply_comes_in_where_memory_is_all_but_gone(lua: Sandbox, strings: int) -> None:
    """Bytes from Python are pushed where a refusal of the allocator would end the process."""
    source = f"""
        local t = {{}}
        for i = 1, {strings} do t[i] = 's' .. i end
        local pad, size = {{}}, 2 ^ 22
        while size > 64 do
            if not pcall(function() pad[#pad + 1] = string.rep('y', size - #pad) end) then break end
            for _ = 1, 3 do redis.call('GET', 'a') redis.sha1hex('a' .. size) end
            size = size / 2
        end
        for i = 1, 1e6 do redis.call('LARGE') pad[#pad + 1] = 'z' .. i end
    """
    assert run(lua, source) in ("memory", "time")
    assert run(lua, "return 1") == 1


REFUSED = {
    "return string.rep('x', 1e9)": "resulting string too large",
    "return ('x'):rep('1000000000')": "resulting string too large",
    "local function f() return 1 + f() end return f()": "stack overflow",
    "return {string.byte(string.rep('x', 1e6), 1, -1)}": "string slice too long",
    "return unpack({}, 1, 1e8)": "too many results to unpack",
    "return table.concat({}, '', 1, 1e9)": "invalid value",
    "return string.rep('a', 1e4):find(string.rep('a*', 20) .. 'b')": "pattern may take too long",
    "return string.rep('a', 40):match(string.rep('a?', 30) .. string.rep('a', 31))": "pattern may take too long",
    "return string.rep('(', 1e5):find('%b()' .. ')')": "pattern may take too long",
    "return string.rep('a', 4e5):find(string.rep('a', 2e5) .. 'b', 1, true)": "pattern may take too long",
    "return string.rep('a', 1e4):gsub('.-b', '')": "pattern may take too long",
    "for _ in string.rep('^', 1e5):gmatch('^^*b') do end": "pattern may take too long",
    "return bit.band({}, 1)": "number expected",
    "return redis.setresp(3)": "RESP version",
}


@pytest.mark.parametrize(("source", "text"), REFUSED.items(), ids=REFUSED)
def test_what_would_take_long_in_c_is_refused(lua: Sandbox, source: str, text: str) -> None:
    began_s = time.monotonic()
    said = run(lua, source)
    assert isinstance(said, str) and text in said
    assert time.monotonic() - began_s < SLACK_S


PATTERNS = {
    "return string.rep('ab,', 1e4):gsub('[^,]+', '')": b"," * 10_000,
    "local n = 0 for _ in string.rep('k=v;', 1e4):gmatch('(%w+)=%w+;?') do n = n + 1 end return n": None,
    "return ('2024-01-02'):match('^(%d+)-(%d+)-(%d+)$')": b"2024",
    "return ('  trim  '):gsub('^%s*(.-)%s*$', '%1')": b"trim",
    "return ('user:17:name'):match(':(%d+):')": b"17",
    "return (('a.b.c'):gsub('%.', '/'))": b"a/b/c",
    "return ('[x]'):find('[', 1, true)": 1,
    "return ('f(a(b)c)'):match('%b()')": b"(a(b)c)",
}


@pytest.mark.parametrize(("source", "result"), PATTERNS.items(), ids=PATTERNS)
def test_ordinary_patterns_pass(lua: Sandbox, source: str, result: object) -> None:
    said = run(lua, source)
    assert said == result if result is not None else "pattern may take too long" in str(said)


@pytest.mark.parametrize("source", ["\x1bLua", "return" + "(" * 5000, "local " + ",".join(f"a{n}" for n in range(999))])
def test_what_the_compiler_refuses(lua: Sandbox, source: str) -> None:
    with pytest.raises(DoesNotCompile):
        run(lua, source)


def test_instructions_are_bounded_where_no_clock_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox_module, "INSTRUCTIONS_LIMIT", 10_000)
    frozen = Sandbox(lambda: 0.0)
    assert run(frozen, "local n = 0 for i = 1, 4000 do n = n + i end return n") == 8_002_000
    assert run(frozen, "local n = 0 for i = 1, 40000 do n = n + i end return n") == "instructions"


def test_time_is_what_the_clock_says() -> None:
    now = [0.0]

    def slow(args: list[bytes]) -> bytes:
        now[0] += float(args[1])
        return b"+OK\r\n"

    for seconds, outcome in ((RUN_LIMIT_S * 0.9, True), (RUN_LIMIT_S * 1.1, False)):
        source = b"redis.call('set', '%f') return redis.call('set', '0')" % seconds
        try:
            assert Sandbox(lambda: now[0]).run(source, (), (), slow)[0] is outcome
        except Stopped as stopped:
            assert (stopped.reason, outcome) == ("time", False)


def test_the_scripts_of_one_transaction_have_a_time_together(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]

    def slow(args: list[bytes]) -> bytes:
        now[0] += float(args[1])
        return b"+OK\r\n"

    monkeypatch.setattr(sandbox_module, "TRANSACTION_RUN_LIMIT_S", 0.1)
    lua, left = Sandbox(lambda: now[0]), Allowance()
    busy = b"redis.call('set', ARGV[1]) return redis.call('set', '0')"
    for _ in range(2):
        assert lua.run(busy, (), (b"0.04",), slow, left)[0]
    with pytest.raises(Stopped, match="time"):
        lua.run(busy, (), (b"0.04",), slow, left)
    with pytest.raises(Spent):
        lua.run(b"return 1", (), (), slow, left)
    assert lua.run(busy, (), (b"0.04",), slow)[0], "another transaction has its own"


def test_compiling_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source of 128 KiB takes longer to compile than to run."""
    lua, left, ticks = Sandbox(lambda: next(ticks)), Allowance(), iter(range(100))
    monkeypatch.setattr(lua, "compile", lambda source: (next(ticks), Sandbox.compile(lua, source))[1])
    before_s = left.seconds
    with pytest.raises(DoesNotCompile):
        lua.run(b"return return", (), (), answered, left)
    assert left.seconds == before_s - 2


def test_instructions_and_results_of_one_transaction_are_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox_module, "TRANSACTION_INSTRUCTIONS_LIMIT", 25_000)
    lua, left, loop = Sandbox(lambda: 0.0), Allowance(), b"local n = 0 for i = 1, 10000 do n = n + i end return n"
    assert lua.run(loop, (), (), answered, left)[0]
    with pytest.raises(Stopped, match="instructions"):
        lua.run(loop, (), (), answered, left)
    with pytest.raises(Spent):
        lua.run(b"return 1", (), (), answered, left)
    monkeypatch.setattr(sandbox_module, "RESULTS_LIMIT_BYTES", 1000)
    left = Allowance()
    assert lua.run(b"return ('x'):rep(2000)", (), (), answered, left)[0] and left.result_bytes < 0
    with pytest.raises(Spent):
        lua.run(b"return 1", (), (), answered, left)


def test_scripts_are_kept_compiled_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox_module, "COMPILED_LIMIT", 3)
    lua = Sandbox(lambda: 0.0)
    for round_ in range(2):
        assert [run(lua, f"return {n}") for n in range(9)] == list(range(9)), round_
    assert len(lua._compiled) == 3
    monkeypatch.setattr(sandbox_module, "KEPT_BYTES", 0)
    assert run(lua, "return 1") == 1 and not lua._compiled
    assert run(lua, "return 1") == 1
