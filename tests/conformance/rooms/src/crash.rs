//! Ways to crash a room. On workerd each ends the WebAssembly instance in its own way; natively all of them are panics.

use room_runtime::prelude::*;

/// The way in which a room crashes.
#[data]
#[derive(Copy)]
pub enum Crash {
    Panic,
    /// A trap without a panic.
    Abort,
    /// A JavaScript exception that an import throws and that no code catches.
    Throw,
    /// An exception that wasm-bindgen throws for Rust code, as `unwrap_throw` does.
    ThrowFromRust,
    /// A recursion that overflows JavaScript's stack.
    Overflow,
    /// A recursion that overflows the stack in the WebAssembly memory.
    OverflowInMemory,
    /// An allocation that exceeds the memory.
    Exhaust,
}

impl Crash {
    /// All ways to crash.
    pub const ALL: [Crash; 7] = [
        Crash::Panic,
        Crash::Abort,
        Crash::Throw,
        Crash::ThrowFromRust,
        Crash::Overflow,
        Crash::OverflowInMemory,
        Crash::Exhaust,
    ];
}

#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn crash(_how: Crash) {
    panic!("{}", crate::PANIC);
}

#[cfg(target_arch = "wasm32")]
pub(crate) use wasm::crash;

#[cfg(target_arch = "wasm32")]
mod wasm {
    use std::{cell::Cell, hint::black_box};

    use worker::wasm_bindgen::{self, prelude::wasm_bindgen};

    use super::Crash;

    #[wasm_bindgen(
        wasm_bindgen = ::worker::wasm_bindgen,
        inline_js = "export function throwing() { throw new Error('asked to throw'); }"
    )]
    extern "C" {
        /// Without `catch`, so that the exception passes through Rust code.
        fn throwing();
    }

    pub(crate) fn crash(how: Crash) {
        match how {
            Crash::Panic => panic!("{}", crate::PANIC),
            Crash::Abort => core::arch::wasm32::unreachable(),
            Crash::Throw => throwing(),
            Crash::ThrowFromRust => wasm_bindgen::throw_str("asked to throw"),
            Crash::Overflow => drop(black_box(deeper(1))),
            Crash::OverflowInMemory => drop(black_box(deeper_in_memory(&[0; 4096]))),
            Crash::Exhaust => loop {
                std::mem::forget(black_box(Vec::<u8>::with_capacity(1 << 28)));
            },
        }
    }

    thread_local! {
        // The call through a variable keeps the compiler from turning the recursion into a loop.
        static DEEPER: Cell<fn(u32) -> u32> = const { Cell::new(|n| n) };
    }

    fn deeper(n: u32) -> u32 {
        DEEPER.set(if n == 0 { |n| n } else { deeper });
        DEEPER.get()(n | 1) ^ n
    }

    #[allow(unconditional_recursion)]
    fn deeper_in_memory(above: &[u8; 4096]) -> u8 {
        let here = black_box([above[0].wrapping_add(1); 4096]);
        deeper_in_memory(&here).wrapping_add(here[17])
    }
}
