//! Handles: what a person types to be found again. `engine/spec/identity.md` §1.
//!
//! `sato.k7m3-9q2x-h4tw-0bzd`: a chosen name, then 20 bits of the network's id, 40 random bits and
//! a checksum of 20 bits in Crockford's base 32. The random bits keep strangers from finding, and
//! locking out, whom they can name; the network's bits tell a wrong network before it is asked.

use std::fmt;

use rand_core::CryptoRng;
use thiserror::Error;

use crate::hash::hash;
use crate::names::NetworkId;
use crate::seal::hardening::argon2id;

/// Longest chosen name, in characters.
pub const HANDLE_NAME_LEN_MAX: usize = 24;
/// The name when none is chosen.
pub const HANDLE_NAME_DEFAULT: &str = "vault";

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const RANDOM_BITS: u32 = 40;
const CHECKED_BITS: u32 = 20;
const SYMBOLS: usize = 16;
const GROUP_LEN: usize = 4;
/// 19 MiB, 2 passes: some 30 ms, so that the 40 random bits of a known name are not found by trying
/// the hashes on the ledger.
const HASH_COST: (u32, u32) = (19 * 1024, 2);

/// A handle with a right checksum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handle {
    name: String,
    /// Network, random bits, checksum.
    code: u128,
}

/// Why something is no handle.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum HandleError {
    /// The chosen name.
    #[error("a name has 1 to {HANDLE_NAME_LEN_MAX} of the characters a-z, 0-9 and -")]
    Name,
    /// Not sixteen symbols after a dot.
    #[error(
        "a handle is a name, a dot and sixteen letters or digits, as in sato.k7m3-9q2x-h4tw-0bzd"
    )]
    Form,
    /// Mistyped.
    #[error("the handle is mistyped: its checksum does not fit")]
    Checksum,
    /// Another network's.
    #[error("the handle belongs to another network")]
    OtherNetwork,
}

impl Handle {
    /// A new handle of a network under a chosen name.
    pub fn generate(
        name: &str,
        network: &NetworkId,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, HandleError> {
        let name = normal_name(name)?;
        let random = u128::from(rng.next_u64() >> (u64::BITS - RANDOM_BITS));
        let checked = (network_bits(network) << RANDOM_BITS) | random;
        let code = (checked << CHECKED_BITS) | checksum(&name, checked);
        Ok(Self { name, code })
    }

    /// Reads what a person typed: case, and spaces and hyphens in the second part, do not matter,
    /// and o is 0, i and l are 1.
    pub fn parse(typed: &str) -> Result<Self, HandleError> {
        let (name, symbols) = typed.trim().rsplit_once('.').ok_or(HandleError::Form)?;
        let name = normal_name(name)?;
        let mut values = symbols.chars().filter(|symbol| !matches!(symbol, ' ' | '-')).map(value);
        let mut code = 0;
        for _ in 0..SYMBOLS {
            code = (code << 5) | values.next().flatten().ok_or(HandleError::Form)?;
        }
        if values.next().is_some() {
            return Err(HandleError::Form);
        }
        if code & ((1 << CHECKED_BITS) - 1) != checksum(&name, code >> CHECKED_BITS) {
            return Err(HandleError::Checksum);
        }
        Ok(Self { name, code })
    }

    /// Refuses a handle of another network.
    pub fn check_network(&self, network: &NetworkId) -> Result<(), HandleError> {
        let own = self.code >> (RANDOM_BITS + CHECKED_BITS) == network_bits(network);
        if own { Ok(()) } else { Err(HandleError::OtherNetwork) }
    }

    /// The name under which the handle stands on the ledger; takes some 30 ms and 19 MiB.
    pub fn hash(&self, network: &NetworkId) -> [u8; 32] {
        let mut slow = [0; 32];
        let (memory, passes) = HASH_COST;
        argon2id(memory, passes)
            .hash_password_into(self.to_string().as_bytes(), network.as_bytes(), &mut slow)
            .unwrap_or_else(|_| unreachable!("a handle and a network id are within the limits"));
        hash("id", &[&slow])
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)?;
        for place in 0..SYMBOLS {
            if place % GROUP_LEN == 0 {
                formatter.write_str(if place == 0 { "." } else { "-" })?;
            }
            let symbol = (self.code >> (5 * (SYMBOLS - 1 - place))) & 31;
            write!(formatter, "{}", char::from(ALPHABET[symbol as usize]))?;
        }
        Ok(())
    }
}

fn normal_name(name: &str) -> Result<String, HandleError> {
    let name = name.to_ascii_lowercase();
    let plain = name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    if plain && (1..=HANDLE_NAME_LEN_MAX).contains(&name.len()) {
        Ok(name)
    } else {
        Err(HandleError::Name)
    }
}

fn value(symbol: char) -> Option<u128> {
    let symbol = match symbol.to_ascii_lowercase() {
        'o' => '0',
        'i' | 'l' => '1',
        other => other,
    };
    ALPHABET.iter().position(|known| char::from(*known) == symbol).map(|place| place as u128)
}

fn network_bits(network: &NetworkId) -> u128 {
    first_bits(&network.0)
}

fn checksum(name: &str, checked: u128) -> u128 {
    first_bits(&hash("id/checksum", &[name.as_bytes(), &checked.to_be_bytes()]))
}

fn first_bits(bytes: &[u8; 32]) -> u128 {
    u128::from(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) >> (32 - CHECKED_BITS))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    fn network() -> NetworkId {
        NetworkId([7; 32])
    }

    fn handle(name: &str, seed: u64) -> Handle {
        Handle::generate(name, &network(), &mut ChaCha20Rng::seed_from_u64(seed)).unwrap()
    }

    /// Frozen: handles are on paper.
    #[test]
    fn the_form_and_the_hash_are_frozen() {
        let handle = handle("Sato", 1);
        assert_eq!(handle.to_string(), "sato.0w3g-kshp-0hag-hgqs");
        let hex: String =
            handle.hash(&network()).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "157bdba911a56ead45141712edd51a537d1c9fc714dd5b54975c941ed1b75995");
    }

    #[test]
    fn people_type_as_they_like() {
        let handle = handle("dr-sato", 2);
        let typed = handle.to_string().to_ascii_uppercase().replace('-', " ").replace('0', "O");
        let typed = typed.replacen("DR SATO", "DR-SATO", 1).replace('1', "l");
        assert_eq!(Handle::parse(&format!(" {typed}\n")).unwrap(), handle);
    }

    #[test]
    fn what_is_no_handle_is_told_apart() {
        let good = handle("sato", 3).to_string();
        let parse = |typed: &str| Handle::parse(typed).unwrap_err();
        assert_eq!(parse("sato"), HandleError::Form);
        assert_eq!(parse(&good[..good.len() - 1]), HandleError::Form);
        assert_eq!(parse(&format!("{good}0")), HandleError::Form);
        assert_eq!(parse(&good.replacen("sato", "s to", 1)), HandleError::Name);
        assert_eq!(parse(&good.replacen("sato", "", 1)), HandleError::Name);
        assert_eq!(parse(&good.replacen("sato", "soto", 1)), HandleError::Checksum);
        assert_eq!(parse("sato.u000-0000-0000-0000"), HandleError::Form);
        let handle = handle("sato", 3);
        assert_eq!(handle.check_network(&network()), Ok(()));
        assert_eq!(handle.check_network(&NetworkId([8; 32])), Err(HandleError::OtherNetwork));
    }

    proptest! {
        #[test]
        fn every_handle_reads_back_and_every_single_slip_is_noticed(
            seed: u64, place in 0usize..16, other in 0usize..32,
        ) {
            let handle = handle("a-9", seed);
            let written = handle.to_string();
            prop_assert_eq!(Handle::parse(&written), Ok(handle));
            let place = "a-9.".len() + place + place / 4;
            let mut slipped = written.clone().into_bytes();
            slipped[place] = ALPHABET[other];
            let slipped = String::from_utf8(slipped).unwrap();
            // 20 bits of checksum: one slip in a million is not seen; none of the drawn ones.
            prop_assert_eq!(Handle::parse(&slipped).is_ok(), slipped == written);
        }
    }
}
