# Sourced by the other scripts: makes .venv and installs the project into it, unless that is done already.
# Sets ROOT (the project's folder) and VENV. Needs Python 3.11 or newer and pip; nothing else. With RAFTCACHE_COMPILE=1,
# and a C compiler, what the script runs has its hot modules compiled: RAFTCACHE_COMPILED says where they are.

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
VENV="$ROOT/.venv"

# Says what the environment was made from. A moved folder counts, for an editable install holds its path.
venv_stamp() {
    printf '%s %s\n' "$(cksum <"$ROOT/pyproject.toml")" "$ROOT"
}

venv_is_ready() {
    [ -x "$VENV/bin/python" ] && [ "$(cat "$VENV/raftcache-stamp" 2>/dev/null)" = "$(venv_stamp)" ]
}

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3.11 python3 python3.12 python3.13 python; do
        if [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    echo "raftcache needs Python 3.11 or newer on the PATH (or in PYTHON)" >&2
    return 1
}

# Some systems ship a venv module that cannot install pip; theirs is then used from outside.
venv_build() {
    local python
    python="$(find_python)" || return 1
    echo "Setting up .venv (once; a minute or so)" >&2
    if [ -L "$VENV" ]; then  # Setting it up would empty the environment of another folder.
        echo "$VENV is a link: remove it, and run this again" >&2
        return 1
    fi
    rm -f "$VENV/raftcache-stamp"
    if "$python" -m venv "$VENV" >/dev/null 2>&1; then
        env -u RAFTCACHE_COMPILE "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check -e "$ROOT[dev]" >&2
    else
        "$python" -m venv --clear --without-pip "$VENV" &&
            env -u RAFTCACHE_COMPILE "$python" -m pip --quiet --python "$VENV/bin/python" install -e "$ROOT[dev]" >&2
    fi && venv_stamp >"$VENV/raftcache-stamp"
}

# Two scripts may run at once: the second waits for the lock, and then finds the work done. Python takes the lock
# on a descriptor of this shell, which keeps it, since not every system has a flock command; the lock is on
# pyproject.toml, so that it leaves no file behind.
venv_made() {
    venv_is_ready && return
    local python
    python="$(find_python)" || return 1
    (
        "$python" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)' &&
            { venv_is_ready || venv_build; }
    ) 9<"$ROOT/pyproject.toml" || {
        echo "setting up .venv failed" >&2
        return 1
    }
}

venv_ready() {
    venv_made && compiled_ready
}

# Where nothing can be compiled, that is said, and the pure code is used.
compiled_ready() {
    unset RAFTCACHE_COMPILED
    [ "${RAFTCACHE_COMPILE:-}" = 1 ] || return 0
    RAFTCACHE_COMPILED="$("$VENV/bin/python" "$ROOT/scripts/compile/ready.py")"
    export RAFTCACHE_COMPILED
}
