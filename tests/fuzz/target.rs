//! One fuzz target: the entrance that is called like this binary.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| podzero::fuzz::call(env!("CARGO_BIN_NAME"), bytes));
