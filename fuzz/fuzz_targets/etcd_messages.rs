#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| cascade_tools::fuzz::run("etcd_messages", input));
