//! Sealing and opening an object's stream beside a copy of it.

use std::hint::black_box;

use kakera_engine::seal::{StreamKey, Suite};

use crate::contest::{Contest, Side};

const PLAIN_LEN: usize = 1 << 20;
const KEY: [u8; 32] = [7; 32];

pub(crate) fn contests() -> impl Iterator<Item = Contest> {
    let suites =
        [("aes-256-gcm", Suite::Aes256Gcm), ("chacha20-poly1305", Suite::ChaCha20Poly1305)];
    suites.into_iter().flat_map(|(cipher, suite)| {
        [("seal", seal(suite)), ("open", open(suite))].map(|(operation, ours)| {
            Contest::new(format!("seal/{operation}/{cipher}/1MiB"), ours).beside(copy())
        })
    })
}

fn seal(suite: Suite) -> Side {
    let (key, plain, mut sealed) = (StreamKey::new(suite, &KEY), plain(), Vec::new());
    Side::unseen("kakera", PLAIN_LEN as u64, move || {
        sealed.clear();
        key.seal(black_box(&plain), &mut sealed);
        black_box(&sealed);
    })
}

fn open(suite: Suite) -> Side {
    let (key, mut sealed) = (StreamKey::new(suite, &KEY), Vec::new());
    key.seal(&plain(), &mut sealed);
    Side::unseen("kakera", PLAIN_LEN as u64, move || {
        black_box(key.open(black_box(&sealed)).expect("sealed under this key"));
    })
}

fn copy() -> Side {
    let (plain, mut copy) = (plain(), plain());
    Side::unseen("memcpy", PLAIN_LEN as u64, move || {
        black_box(&mut copy).copy_from_slice(black_box(&plain));
    })
}

fn plain() -> Vec<u8> {
    vec![0x5A; PLAIN_LEN]
}
