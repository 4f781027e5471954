//! Does one operation of a code again and again, for `cargo xtask instructions` to count and
//! `cargo xtask coding-rates` to time.
//!
//! Arguments: a kernel, a code, `encode`, `decode`, `repair` (what the newcomer does) or `help` (what
//! all helpers of a repair do), and how many times.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a driver, not the engine")]

use std::hint::black_box;

use kakera_engine::code::{Code, CodeParameters};
use kakera_engine::gf;
use kakera_engine::names::Slot;

/// Groups of an object: fragments have 64 KiB.
const GROUPS: usize = 4;
const GROUP_LEN: usize = 16 * 1024;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kernel, code, operation, times] = arguments.try_into().unwrap();
    gf::force(&kernel).unwrap();
    let parameters: CodeParameters = code.parse().unwrap();
    let code = parameters.build().unwrap();
    let times = times.parse().unwrap();
    println!("{} bytes a time", repeat(&code, &operation, times));
}

/// The bytes that are coded each time: of the object, or of the repaired fragment.
fn repeat(code: &Code, operation: &str, times: usize) -> usize {
    let data: Vec<u8> = (0..GROUPS * GROUP_LEN / code.alpha() * code.message_len())
        .map(|index| (index * 31 + index / 253) as u8)
        .collect();
    let layout = code.layout(data.len() as u64);
    let CodeParameters { n, k, d, .. } = code.parameters();
    let mut fragments = code.encode(&data);
    let mut buffer = Vec::new();
    match operation {
        "encode" => {
            for _ in 0..times {
                code.encode_into(&data, black_box(&mut fragments));
            }
            data.len()
        }
        "decode" => {
            let parity = Slot::all(n).skip(usize::from(n - k));
            let parts: Vec<(Slot, &[u8])> =
                parity.map(|slot| (slot, &fragments[slot.index()][..])).collect();
            for _ in 0..times {
                let groups = 0..layout.group_count();
                code.decode_groups_into(&layout, groups, &parts, black_box(&mut buffer)).unwrap();
            }
            data.len()
        }
        "help" => {
            let slots: Vec<Slot> = Slot::all(n).take(1 + usize::from(d)).collect();
            for _ in 0..times {
                for slot in &slots[1..] {
                    let fragment = &fragments[slot.index()];
                    black_box(code.helper_symbols(&layout, slots[0], fragment).unwrap());
                }
            }
            fragments[0].len()
        }
        "repair" => {
            let slots: Vec<Slot> = Slot::all(n).collect();
            let symbols: Vec<Vec<u8>> = slots[1..=usize::from(d)]
                .iter()
                .map(|slot| {
                    let fragment = &fragments[slot.index()];
                    code.helper_symbols(&layout, slots[0], fragment).unwrap()
                })
                .collect();
            let answers: Vec<(Slot, &[u8])> =
                slots[1..].iter().copied().zip(symbols.iter().map(Vec::as_slice)).collect();
            for _ in 0..times {
                code.repair_into(&layout, slots[0], &answers, black_box(&mut buffer)).unwrap();
            }
            buffer.len()
        }
        _ => panic!("no operation '{operation}'"),
    }
}
