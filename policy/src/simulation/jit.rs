//! Runtimes that compile while they run: they need executable memory that belongs to no file, which no rule can
//! allow without allowing every unsigned file along with it.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Is a runtime that is known to compile while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JitRuntime {
    /// What it is called.
    pub name: &'static str,
    /// What helps, if anything does.
    pub remedy: Option<&'static str>,
}

/// Recognizes a runtime by the name of its program or library.
pub fn jit_runtime(path: &Path) -> Option<JitRuntime> {
    let name = path.file_name()?.as_bytes();
    let (_, name, remedy) = RUNTIMES.iter().find(|(pattern, ..)| matches(pattern, name))?;
    Some(JitRuntime { name, remedy: *remedy })
}

/// A star at the end stands for a version, or for nothing: digits and what may stand between them.
fn matches(pattern: &str, name: &[u8]) -> bool {
    match pattern.strip_suffix('*') {
        None => pattern.as_bytes() == name,
        Some(start) => name.strip_prefix(start.as_bytes()).is_some_and(|rest| {
            rest.iter().all(|byte| byte.is_ascii_digit() || b".-_".contains(byte))
        }),
    }
}

/// Name, what it is, and what helps. That of Node.js was tried; Java fails even with `-Xint`.
const RUNTIMES: &[(&str, &str, Option<&str>)] = &[
    ("node", "Node.js", Some("NODE_OPTIONS=--jitless runs it without compiling")),
    ("nodejs", "Node.js", Some("NODE_OPTIONS=--jitless runs it without compiling")),
    ("libnode.so*", "Node.js", Some("NODE_OPTIONS=--jitless runs it without compiling")),
    ("libv8.so*", "V8", None),
    ("deno", "Deno", None),
    ("bun", "Bun", None),
    ("libjvm.so", "Java", None),
    ("libcoreclr.so", ".NET", None),
    ("libclrjit.so", ".NET", None),
    ("libmonosgen-2.0.so*", "Mono", None),
    ("mono-sgen", "Mono", None),
    ("luajit*", "LuaJIT", Some("`jit.off()` is not enough; Lua without LuaJIT is")),
    ("libluajit-5.1.so*", "LuaJIT", Some("`jit.off()` is not enough; Lua without LuaJIT is")),
    ("pypy*", "PyPy", Some("CPython runs the same programs")),
    ("beam.smp", "Erlang", Some("an emulator built without the JIT (`emu_flavor emu`)")),
    ("julia*", "Julia", None),
    ("libjavascriptcoregtk-4.1.so*", "JavaScriptCore", None),
    ("wasmtime", "Wasmtime", None),
    ("wasmer", "Wasmer", None),
    ("qemu-x86_64", "QEMU", None),
    ("qemu-aarch64", "QEMU", None),
    ("qemu-system-x86_64", "QEMU", None),
    ("llvmjit.so", "PostgreSQL's JIT", Some("`jit = off` in postgresql.conf")),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtimes_are_known_by_their_names() {
        let name = |path: &str| jit_runtime(Path::new(path)).map(|runtime| runtime.name);
        assert_eq!(name("/usr/local/bin/node"), Some("Node.js"));
        assert_eq!(name("/usr/lib/x86_64-linux-gnu/libnode.so.108"), Some("Node.js"));
        assert_eq!(name("/usr/lib/jvm/java-17/lib/server/libjvm.so"), Some("Java"));
        assert_eq!(name("/usr/bin/luajit-2.1.0"), Some("LuaJIT"));
        assert_eq!(name("/usr/bin/pypy3"), Some("PyPy"));
        for other in
            ["/usr/bin/nodes", "/usr/bin/perl", "/", "/usr/bin/juliana", "/usr/bin/python3"]
        {
            assert_eq!(name(other), None, "{other}");
        }
    }
}
